// SPDX-License-Identifier: Apache-2.0

package devicekey_test

import (
	"bytes"
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/ed25519"
	"crypto/hkdf"
	"crypto/pbkdf2"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/crypto/argon2"

	"github.com/merlon-go/merlon/devicekey"
)

func TestPassphrase(t *testing.T) {
	seed := newSeed()
	path := filepath.Join(t.TempDir(), "device.key")
	k, err := devicekey.Import(ctx, path, pkcs8(t, seed), phrase("correct horse"))
	require.NoError(t, err)
	sum := content(t, path)
	requireHidden(t, sum, seed)
	again, err := devicekey.Load(ctx, path, phrase("correct horse"))
	require.NoError(t, err)
	require.Equal(t, k.ID(), again.ID())
	again.CacheFor(1 << 40)
	sound(t, again)

	_, err = devicekey.Load(ctx, path, phrase("correct horse\n"))
	refused(t, devicekey.ProtectorFailed, err)
	require.ErrorIs(t, err, devicekey.WrongPassphrase)
	require.Equal(t, sum, content(t, path))
}

func TestPassphraseThatIsNotThere(t *testing.T) {
	for name, read := range map[string]func(context.Context) ([]byte, error){
		"empty":      func(context.Context) ([]byte, error) { return []byte{}, nil },
		"nil":        func(context.Context) ([]byte, error) { return nil, nil },
		"unreadable": func(context.Context) ([]byte, error) { return []byte("half of it"), errPrompt },
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "device.key")
			for maker, make := range makers(t) {
				_, err := make(path, devicekey.Passphrase(read))
				refused(t, devicekey.ProtectorFailed, err, maker)
				require.ErrorIs(t, err, devicekey.NoPassphrase)
				require.Equal(t, name == "unreadable", errors.Is(err, errPrompt))
			}
			require.Empty(t, names(t, path))
		})
	}
	p := devicekey.Passphrase(nil)
	sealed, err := p.Protect(ctx, newSeed(), []string{"a"})
	require.Nil(t, sealed)
	refused(t, devicekey.NoProtector, err)
	secret, err := p.Unprotect(ctx, make([]byte, 200), []string{"a"})
	require.Nil(t, secret)
	refused(t, devicekey.Altered, err)
}

// TestPromptConfirmsItself: a slip of the finger at the prompt must not seal the only copy of a key.
func TestPromptConfirmsItself(t *testing.T) {
	answers := []string{"correct horse", "correct hrose"}
	path := filepath.Join(t.TempDir(), "device.key")
	_, err := devicekey.Generate(ctx, path, devicekey.Passphrase(func(context.Context) ([]byte, error) {
		answer := answers[0]
		answers = answers[1:]
		return []byte(answer), nil
	}))
	refused(t, devicekey.ProtectorFailed, err)
	require.ErrorIs(t, err, devicekey.WrongPassphrase)
	require.Empty(t, answers)
	require.Empty(t, names(t, path))
}

func TestPassphraseContext(t *testing.T) {
	type mine struct{}
	path := filepath.Join(t.TempDir(), "device.key")
	ending, cancel := context.WithCancel(context.WithValue(ctx, mine{}, true))
	_, err := devicekey.Generate(ending, path, devicekey.Passphrase(func(ctx context.Context) ([]byte, error) {
		require.NotNil(t, ctx.Value(mine{}))
		cancel() // as a prompt does that was dismissed too late
		return []byte("correct horse"), nil
	}))
	refused(t, devicekey.ProtectorFailed, err)
	require.ErrorIs(t, err, devicekey.Interrupted)
	require.ErrorIs(t, err, context.Canceled)
	require.Empty(t, names(t, path))
}

func TestPassphraseKeepsAndChangesNothing(t *testing.T) {
	stored := []byte("correct horse")
	p := devicekey.Passphrase(func(context.Context) ([]byte, error) { return stored, nil })
	secret := newSeed()
	given := bytes.Clone(secret)
	sealed, err := p.Protect(ctx, given, []string{"a"})
	require.NoError(t, err)
	require.Equal(t, secret, given)
	require.Equal(t, "correct horse", string(stored))
	require.NotContains(t, string(sealed), "correct")
	kept := bytes.Clone(sealed)
	back, err := p.Unprotect(ctx, sealed, []string{"a"})
	require.NoError(t, err)
	require.Equal(t, secret, back)
	require.Equal(t, kept, sealed)
	again, err := p.Protect(ctx, secret, []string{"a"})
	require.NoError(t, err)
	require.NotEqual(t, sealed[:17], again[:17], "a salt of its own")
	require.NotEqual(t, sealed[17:], again[17:])
}

// TestPassphraseSealedBytes: every part is authenticated, and nothing in it sets the price of opening it.
func TestPassphraseSealedBytes(t *testing.T) {
	secret, where := newSeed(), []string{"to", "to"}
	p := phrase("correct horse")
	sealed, err := p.Protect(ctx, secret, where)
	require.NoError(t, err)
	require.Len(t, sealed, 1+16+32+12+32+16)
	require.EqualValues(t, 1, sealed[0])
	flip := func(i int, bits byte) []byte {
		b := bytes.Clone(sealed)
		b[i] ^= bits
		return b
	}
	for _, row := range []struct {
		name   string
		sealed []byte
		where  []string
		want   devicekey.Reason
	}{
		{"nothing", nil, where, devicekey.Altered},
		{"less than a header", sealed[:40], where, devicekey.Altered},
		{"a set that does not exist", flip(0, 2), where, devicekey.Altered},
		{"the other set", flip(0, 3), where, devicekey.WrongPassphrase},
		{"set zero", flip(0, 1), where, devicekey.Altered},
		{"salt", flip(16, 0x80), where, devicekey.WrongPassphrase},
		{"commitment", flip(48, 0x80), where, devicekey.WrongPassphrase},
		{"nonce", flip(49, 1), where, devicekey.Altered},
		{"last bit of the tag", flip(len(sealed)-1, 0x80), where, devicekey.Altered},
		{"cut to the shortest", sealed[:49+28], where, devicekey.Altered},
		{"a byte shorter than that", sealed[:49+27], where, devicekey.Altered},
		{"a byte more", append(bytes.Clone(sealed), 0), where, devicekey.Altered},
		{"another place that reads alike", sealed, []string{"toto"}, devicekey.Altered},
		{"no place", sealed, nil, devicekey.Altered},
	} {
		t.Run(row.name, func(t *testing.T) {
			got, err := p.Unprotect(ctx, row.sealed, row.where)
			require.Nil(t, got)
			refused(t, row.want, err)
		})
	}
	empty, err := p.Protect(ctx, nil, where)
	require.NoError(t, err)
	require.Len(t, empty, 49+28)
	back, err := p.Unprotect(ctx, empty, where)
	require.NoError(t, err)
	require.Empty(t, back)
}

// TestPriceOfAHostileFile: whatever the sealed bytes say, opening them takes the 64 MiB of the set and not more.
func TestPriceOfAHostileFile(t *testing.T) {
	hostile := bytes.Repeat([]byte{0xff}, 200)
	hostile[0] = 1
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	_, err := phrase("correct horse").Unprotect(ctx, hostile, nil)
	runtime.ReadMemStats(&after)
	refused(t, devicekey.WrongPassphrase, err)
	require.Less(t, after.TotalAlloc-before.TotalAlloc, uint64(65<<20))
}

// reopen opens a key file by the description of the format alone; it shares no code with the package.
func reopen(t testing.TB, doc []byte, passphrase string) ed25519.PrivateKey {
	var file struct {
		Devicekey int
		Algorithm string
		Public    []byte
		Sealed    []byte
	}
	require.NoError(t, json.Unmarshal(doc, &file))
	require.Equal(t, 1, file.Devicekey)
	require.Equal(t, "Ed25519", file.Algorithm)
	head, salt, commitment, nonce, rest := file.Sealed[:49], file.Sealed[1:17], file.Sealed[17:49], file.Sealed[49:61], file.Sealed[61:]
	var stretched []byte
	switch head[0] {
	case 1:
		stretched = argon2.IDKey([]byte(passphrase), salt, 3, 65536, 4, 32)
	case 2:
		var err error
		stretched, err = pbkdf2.Key(sha256.New, passphrase, salt, 600000, 32)
		require.NoError(t, err)
	}
	keys, err := hkdf.Expand(sha256.New, stretched, "merlon devicekey passphrase 1", 64)
	require.NoError(t, err)
	require.Equal(t, keys[32:], commitment)
	additional := bytes.Clone(head)
	for _, part := range []string{"merlon devicekey 1", "Ed25519", hexOf(file.Public)} {
		additional = append(binary.BigEndian.AppendUint32(additional, uint32(len(part))), part...)
	}
	block, err := aes.NewCipher(keys[:32])
	require.NoError(t, err)
	gcm, err := cipher.NewGCM(block)
	require.NoError(t, err)
	seed, err := gcm.Open(nil, nonce, rest, additional)
	require.NoError(t, err)
	return ed25519.NewKeyFromSeed(seed)
}

// TestFormat holds files that earlier releases wrote. They open for ever: add to testdata, and change nothing in it.
// TestMain writes a new one, for DEVICEKEY_TEST_PATH and DEVICEKEY_TEST_PHRASE; with GODEBUG=fips140=on it is of set
// 2.
func TestFormat(t *testing.T) {
	files, err := filepath.Glob("testdata/*.key")
	require.NoError(t, err)
	require.Len(t, files, 2)
	for i, set := range []byte{1, 2} {
		doc := content(t, files[i])
		_, sealed, err := devicekey.Decode(doc)
		require.NoError(t, err)
		require.Equal(t, set, sealed[0])
		path := filepath.Join(t.TempDir(), "device.key")
		require.NoError(t, os.WriteFile(path, doc, 0o600))
		k, err := devicekey.Load(ctx, path, phrase("correct horse battery staple"))
		require.NoError(t, err)
		require.Equal(t, k.Public(), reopen(t, doc, "correct horse battery staple").Public())
	}
	path := filepath.Join(t.TempDir(), "device.key")
	k, err := devicekey.Generate(ctx, path, phrase("today"))
	require.NoError(t, err)
	require.Equal(t, k.Public(), reopen(t, content(t, path), "today").Public())
	public, sealed, err := devicekey.Decode(content(t, path))
	require.NoError(t, err)
	require.Equal(t, content(t, path), []byte(`{"devicekey":1,"algorithm":"Ed25519","public":"`+
		base64.StdEncoding.EncodeToString(public)+`","sealed":"`+base64.StdEncoding.EncodeToString(sealed)+"\"}\n"))
}

// TestFIPS runs the whole under GODEBUG=fips140=only, where what is not approved fails, and takes the file back.
func TestFIPS(t *testing.T) {
	path := filepath.Join(t.TempDir(), "device.key")
	out, err := child(t, path, "DEVICEKEY_TEST_PHRASE=correct horse battery staple", "GODEBUG=fips140=only").CombinedOutput()
	require.NoError(t, err, "%s", out)
	_, sealed, err := devicekey.Decode(content(t, path))
	require.NoError(t, err)
	require.EqualValues(t, 2, sealed[0])
	k, err := devicekey.Load(ctx, path, phrase("correct horse battery staple"))
	require.NoError(t, err)
	require.Equal(t, string(out), k.ID())
}
