// SPDX-License-Identifier: Apache-2.0

package masterkey

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/fips140"
	"crypto/hkdf"
	"crypto/pbkdf2"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"fmt"
	"io"
	"log/slog"

	"golang.org/x/crypto/argon2"
)

// Passphrase keeps in the inner source only what a passphrase seals: AES-256-GCM under a key that Argon2id derives, with
// the second recommended parameters of RFC 9106 (3 passes over 64 MiB, 4 lanes), or where the process is in FIPS 140
// mode PBKDF2-HMAC-SHA-256 with 600,000 rounds. A FIPS process in mode "only" refuses what Argon2id sealed.
//
// read is asked when something is stored already, or is about to be, and once it was right never again in the Source's
// life: what another process stages can be read without a human. Config.Timeout does not bound it, only the context
// of Open does. The bytes are used as they are (a trailing newline is part of them) and cleared afterwards, so read
// gives a slice of its own. A wrong passphrase is ErrDenied, and so is an empty one. An error of read is never ErrNotFound.
//
// To change the passphrase, Load from the old Source and Store to a new one around the same inner source.
func Passphrase(read func(context.Context) ([]byte, error), inner Source) Source {
	return &passphrase{read, inner, &unlocked{gate: new(gate)}}
}

type passphrase struct {
	read  func(context.Context) ([]byte, error)
	inner Source
	known *unlocked
}

// unlocked is what remains of a passphrase that was right: the key for one salt, which later writes keep. The gate lets
// one call at a time use it, and nobody wait longer than he wants for a human.
type unlocked struct {
	gate   *gate
	params string // as in the sealed text, the salt included; empty: none was asked for yet
	key    []byte
	right  bool // it opened what is stored
}

func (p *passphrase) Name() string { return "passphrase+" + nameOf(p.inner) }

// Format prints the name whatever the verb, because the fields hold a key.
func (p *passphrase) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, p.Name()) }

// LogValue is the name.
func (p *passphrase) LogValue() slog.Value { return slog.StringValue(p.Name()) }

func (p *passphrase) check() error {
	if p.read == nil || p.inner == nil {
		return &fault{kind: ErrUnavailable, text: "Passphrase needs a read function and an inner source"}
	}
	return nil
}

func (p *passphrase) Load(ctx context.Context) ([]byte, error) {
	if err := p.check(); err != nil {
		return nil, err
	}
	text, err := p.inner.Load(ctx)
	if err != nil {
		return nil, err
	}
	// Three lines: the parameters, a check value of the key, the sealed keys.
	lines, err := unframe("passphrase", text)
	if err != nil || len(lines) != 3 {
		return nil, &fault{kind: ErrCorrupt, text: "nothing that a passphrase sealed", cause: err}
	}
	derive, err := parseParams(lines[0])
	if err != nil {
		return nil, err
	}
	sealed, err := base64.RawStdEncoding.Strict().DecodeString(lines[2])
	if err != nil {
		return nil, &fault{kind: ErrCorrupt, text: "nothing that a passphrase sealed"}
	}
	return p.alone(ctx, func(ctx context.Context) ([]byte, error) {
		key := p.known.key
		if p.known.params != lines[0] {
			if p.known.right { // nobody is there to be asked again, and what triggers a reload comes from a file
				return nil, &fault{kind: ErrLocked, text: "the passphrase was changed since this program started; restart it"}
			}
			asked, err := p.derive(ctx, derive)
			if err != nil {
				return nil, err
			}
			key = asked
		}
		if subtle.ConstantTimeCompare([]byte(checkValue(key)), []byte(lines[1])) != 1 {
			return nil, &fault{kind: ErrDenied, text: "the passphrase is wrong"}
		}
		data, err := aead(key).Open(nil, nil, sealed, []byte(lines[0]))
		if err != nil {
			return nil, &fault{kind: ErrCorrupt, text: "the passphrase is right, and what it sealed was altered"}
		}
		p.known.params, p.known.key, p.known.right = lines[0], key, true
		return data, nil
	})
}

// alone makes the call without the lock of Config.Dir, which a prompt that nobody answers need not keep: it writes nothing.
func (p *passphrase) alone(ctx context.Context, call func(context.Context) ([]byte, error)) ([]byte, error) {
	return p.known.gate.through(holding(ctx, nil), 0, call)
}

func (p *passphrase) Store(ctx context.Context, data []byte) error {
	text, err := p.seal(ctx, data)
	if err != nil {
		return err
	}
	return p.inner.Store(ctx, text)
}

func (p *passphrase) create(ctx context.Context, data []byte) error {
	text, err := p.seal(ctx, data)
	if err != nil {
		return err
	}
	return create(ctx, p.inner, text)
}

func (p *passphrase) seal(ctx context.Context, data []byte) ([]byte, error) {
	if err := p.check(); err != nil {
		return nil, err
	}
	return p.alone(ctx, func(ctx context.Context) ([]byte, error) {
		if p.known.params == "" {
			params := newParams()
			derive, err := parseParams(params)
			if err != nil {
				return nil, err // unreachable: these are our own
			}
			key, err := p.derive(ctx, derive)
			if err != nil {
				return nil, err
			}
			p.known.params, p.known.key = params, key
		}
		// One salt and so one key for the life of the passphrase: nonces are random, and nobody rotates 2^32 times.
		sealed := aead(p.known.key).Seal(nil, nil, data, []byte(p.known.params))
		return frame("passphrase", []string{p.known.params, checkValue(p.known.key), base64.RawStdEncoding.EncodeToString(sealed)}), nil
	})
}

func (p *passphrase) derive(ctx context.Context, derive func([]byte) []byte) ([]byte, error) {
	phrase, err := p.read(ctx)
	defer clear(phrase)
	if err != nil {
		return nil, notAbsent(err, "the passphrase cannot be read")
	}
	if len(phrase) == 0 {
		return nil, &fault{kind: ErrDenied, text: "the passphrase is empty"}
	}
	return derive(phrase), nil
}

const (
	argonParams  = "argon2id t=%d m=%d p=%d salt=%s" // m in KiB
	pbkdf2Params = "pbkdf2-sha256 i=%d salt=%s"
	saltSize     = 16
)

func newParams() string {
	var raw [saltSize]byte
	_, _ = rand.Read(raw[:]) // never fails
	salt := base64.RawStdEncoding.EncodeToString(raw[:])
	if fips140.Enabled() {
		return fmt.Sprintf(pbkdf2Params, 600_000, salt)
	}
	return fmt.Sprintf(argonParams, 3, 64<<10, 4, salt)
}

// parseParams reads what a stored text asks for, and refuses what would be too cheap to resist a search or would take
// this process's memory or time, before any of it is spent.
func parseParams(line string) (derive func(phrase []byte) []byte, err error) {
	var (
		t, m   uint32
		p      uint8
		rounds int
		text   string
	)
	if n, _ := fmt.Sscanf(line, argonParams, &t, &m, &p, &text); n == 4 && line == fmt.Sprintf(argonParams, t, m, p, text) {
		salt, err := base64.RawStdEncoding.Strict().DecodeString(text)
		switch {
		case err != nil || len(salt) != saltSize, t < 1, t > 10, m < 19<<10, m > 256<<10, p < 1, p > 16:
			return nil, &fault{kind: ErrCorrupt, text: "its Argon2id parameters are outside 1-10 passes, 19-256 MiB, 1-16 lanes"}
		case fips140.Enforced():
			return nil, &fault{kind: ErrDenied, text: "FIPS 140 mode forbids Argon2id; run once with GODEBUG=fips140=on and change the passphrase"}
		}
		return func(phrase []byte) []byte { return argon2.IDKey(phrase, salt, t, m, p, keySize) }, nil
	}
	if n, _ := fmt.Sscanf(line, pbkdf2Params, &rounds, &text); n == 2 && line == fmt.Sprintf(pbkdf2Params, rounds, text) {
		salt, err := base64.RawStdEncoding.Strict().DecodeString(text)
		if err != nil || len(salt) != saltSize || rounds < 600_000 || rounds > 10_000_000 {
			return nil, &fault{kind: ErrCorrupt, text: "its PBKDF2 parameters are outside 600,000-10,000,000 rounds"}
		}
		return func(phrase []byte) []byte {
			key, err := pbkdf2.Key(sha256.New, string(phrase), salt, rounds, keySize)
			if err != nil {
				panic(err) // unreachable: the sizes are fixed and approved
			}
			return key
		}, nil
	}
	return nil, &fault{kind: ErrCorrupt, text: "it names no derivation that this version knows"}
}

// checkValue commits to the key, so that a wrong passphrase is told from an altered text, and so that no text opens
// under two passphrases, which would test many guesses at once (Len, Grubbs, Ristenpart, USENIX Security 2021).
func checkValue(key []byte) string {
	return base64.RawStdEncoding.EncodeToString(expand(key, "merlon passphrase check"))
}

func aead(key []byte) cipher.AEAD {
	block, err := aes.NewCipher(expand(key, "merlon passphrase seal"))
	if err != nil {
		panic(err) // unreachable: the key has 32 bytes
	}
	gcm, err := cipher.NewGCMWithRandomNonce(block)
	if err != nil {
		panic(err) // unreachable: the block is AES's
	}
	return gcm
}

func expand(key []byte, purpose string) []byte {
	out, err := hkdf.Expand(sha256.New, key, purpose, keySize)
	if err != nil {
		panic(err) // unreachable: one block of SHA-256
	}
	return out
}
