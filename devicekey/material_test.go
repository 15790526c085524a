// SPDX-License-Identifier: Apache-2.0

package devicekey_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha512"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"math/big"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/crypto/ssh"

	"github.com/merlon-go/merlon/devicekey"
)

func newSeed() []byte {
	seed := make([]byte, ed25519.SeedSize)
	rand.Read(seed)
	return seed
}

func hexOf(b []byte) string { return hex.EncodeToString(b) }

func block(kind string, der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
}

const pkcs8Label, opensshLabel = "PRIVATE" + " KEY", "OPENSSH PRIVATE" + " KEY"

func der(t testing.TB, key any) []byte {
	b, err := x509.MarshalPKCS8PrivateKey(key)
	require.NoError(t, err)
	return b
}

func pkcs8(t testing.TB, seed []byte) []byte {
	return block(pkcs8Label, der(t, ed25519.NewKeyFromSeed(seed)))
}

// tagged is one ASN.1 value.
func tagged(tag byte, parts ...[]byte) []byte {
	body := slices.Concat(parts...)
	return append([]byte{tag, byte(len(body))}, body...)
}

// oneAsymmetricKey is RFC 5958's form, with what stands in the octets of the private key, and after them.
func oneAsymmetricKey(secret []byte, after ...[]byte) []byte {
	return tagged(0x30, []byte{2, 1, 1, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70}, tagged(4, secret), slices.Concat(after...))
}

// half is a public half as RFC 5958 has it, and ringHalf as ring has it before 0.17.
func half(public []byte) []byte     { return tagged(0x81, []byte{0}, public) }
func ringHalf(public []byte) []byte { return tagged(0xa1, tagged(3, []byte{0}, public)) }

func openssh(t testing.TB, key any, comment ...byte) *pem.Block {
	b, err := ssh.MarshalPrivateKey(key, string(comment))
	require.NoError(t, err)
	return b
}

// flipped turns one bit in the nth place where part stands.
func flipped(doc, part []byte, n int) []byte {
	doc, at := bytes.Clone(doc), 0
	for range n {
		at += bytes.Index(doc[at:], part) + 1
	}
	doc[at-1] ^= 1
	return doc
}

func TestImport(t *testing.T) {
	seed := newSeed()
	private := ed25519.NewKeyFromSeed(seed)
	public := private.Public().(ed25519.PublicKey)
	other := ed25519.NewKeyFromSeed(newSeed()).Public().(ed25519.PublicKey)
	good, ssh1, ssh4 := pkcs8(t, seed), openssh(t, private), openssh(t, private, public...)
	require.Equal(t, 3, bytes.Count(ssh1.Bytes, public))
	require.Equal(t, 4, bytes.Count(ssh4.Bytes, public))
	inner := tagged(4, seed)
	attributes := tagged(0xa0, tagged(0x30))
	spki, err := x509.MarshalPKIXPublicKey(public)
	require.NoError(t, err)
	p256, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	locked, err := ssh.MarshalPrivateKeyWithPassphrase(private, "", []byte("phrase"))
	require.NoError(t, err)

	const sound = devicekey.Reason(0)
	rows := []struct {
		name string
		text []byte
		want devicekey.Reason
	}{
		{"PKCS#8", good, sound},
		{"PKCS#8 with CRLF", bytes.ReplaceAll(good, []byte("\n"), []byte("\r\n")), sound},
		{"PKCS#8 without the last newline", bytes.TrimSpace(good), sound},
		{"PKCS#8 with blank lines around", slices.Concat([]byte("\n\n"), good, []byte("\n \n")), sound},
		{"PKCS#8 version 2, with its public half", block(pkcs8Label, oneAsymmetricKey(inner, half(public))), sound},
		{"PKCS#8 with attributes", block(pkcs8Label, oneAsymmetricKey(inner, attributes)), sound},
		{"PKCS#8 with both (RFC 8410, 10.3)", block(pkcs8Label, oneAsymmetricKey(inner, attributes, half(public))), sound},
		{"PKCS#8 by ring before 0.17", block(pkcs8Label, oneAsymmetricKey(inner, ringHalf(public))), sound},
		{"OpenSSH", pem.EncodeToMemory(ssh1), sound},
		{"OpenSSH, a comment that reads as the public half", pem.EncodeToMemory(ssh4), sound},

		{"PKCS#8 with another public half", block(pkcs8Label, oneAsymmetricKey(inner, half(other))), devicekey.BadMaterial},
		{"PKCS#8 with an empty public half", block(pkcs8Label, oneAsymmetricKey(inner, half(nil))), devicekey.BadMaterial},
		{"PKCS#8 with a cut public half", block(pkcs8Label, oneAsymmetricKey(inner, half(public[1:]))), devicekey.BadMaterial},
		{"PKCS#8 with two public halves", block(pkcs8Label, oneAsymmetricKey(inner, half(public), half(other))), devicekey.BadMaterial},
		{"PKCS#8 by ring, another public half", block(pkcs8Label, oneAsymmetricKey(inner, ringHalf(other))), devicekey.BadMaterial},
		{"PKCS#8, the public half as it is", block(pkcs8Label, oneAsymmetricKey(inner, public)), devicekey.BadMaterial},
		{"PKCS#8, something behind the seed", block(pkcs8Label, oneAsymmetricKey(append(tagged(4, seed), 5, 0))), devicekey.BadMaterial},
		{"PKCS#8, a second key inside", block(pkcs8Label, oneAsymmetricKey(inner, tagged(4, inner))), devicekey.BadMaterial},
		{"OpenSSH, public half outside changed", block(opensshLabel, flipped(ssh1.Bytes, public, 1)), devicekey.BadMaterial},
		{"OpenSSH, public half inside changed", block(opensshLabel, flipped(ssh1.Bytes, public, 2)), devicekey.BadMaterial},
		{"OpenSSH, public half behind the seed changed", block(opensshLabel, flipped(ssh1.Bytes, public, 3)), devicekey.BadMaterial},
		{"OpenSSH, outside changed, right in the comment", block(opensshLabel, flipped(ssh4.Bytes, public, 1)), devicekey.BadMaterial},
		{"OpenSSH, inside changed, right in the comment", block(opensshLabel, flipped(ssh4.Bytes, public, 2)), devicekey.BadMaterial},
		{"OpenSSH, behind the seed changed, right in the comment", block(opensshLabel, flipped(ssh4.Bytes, public, 3)), devicekey.BadMaterial},
		{"OpenSSH, bytes behind it", block(opensshLabel, append(bytes.Clone(ssh1.Bytes), 0)), devicekey.BadMaterial},
		{"OpenSSH, all of another", block(opensshLabel, bytes.ReplaceAll(ssh1.Bytes, public, other)), devicekey.BadMaterial},
		{"a seed of 31 bytes", block(pkcs8Label, oneAsymmetricKey(tagged(4, seed[:31]))), devicekey.BadMaterial},
		{"a seed of 33 bytes", block(pkcs8Label, oneAsymmetricKey(tagged(4, seed, []byte{0}))), devicekey.BadMaterial},
		{"no seed", block(pkcs8Label, oneAsymmetricKey(nil)), devicekey.BadMaterial},
		{"bytes behind the DER", block(pkcs8Label, append(der(t, private), 0)), devicekey.BadMaterial},
		{"DER cut short", block(pkcs8Label, der(t, private)[:40]), devicekey.BadMaterial},
		{"OpenSSH cut short", block(opensshLabel, ssh1.Bytes[:len(ssh1.Bytes)-40]), devicekey.BadMaterial},
		{"an ECDSA key", block(pkcs8Label, der(t, p256)), devicekey.BadMaterial},
		{"an ECDSA key, OpenSSH", pem.EncodeToMemory(openssh(t, p256)), devicekey.BadMaterial},
		{"a public key", block("PUBLIC KEY", spki), devicekey.BadMaterial},
		{"a public key by another name", block(pkcs8Label, spki), devicekey.BadMaterial},
		{"a key by another name", block("CERTIFICATE", der(t, private)), devicekey.BadMaterial},
		{"two keys", append(bytes.Clone(good), pkcs8(t, newSeed())...), devicekey.BadMaterial},
		{"the same key twice", append(bytes.Clone(good), good...), devicekey.BadMaterial},
		{"a key behind one that is damaged", slices.Concat(good[:60], []byte("\n"), pkcs8(t, newSeed())), devicekey.BadMaterial},
		{"a key behind the beginning of one", slices.Concat([]byte("-----BEGIN nothing\n"), good), devicekey.BadMaterial},
		{"a key and its certificate", append(bytes.Clone(good), block("CERTIFICATE", []byte("x"))...), devicekey.BadMaterial},
		{"text before", append([]byte("my key\n"), good...), devicekey.BadMaterial},
		{"text behind", append(bytes.Clone(good), "my key\n"...), devicekey.BadMaterial},
		{"no last line", good[:bytes.Index(good, []byte("-----END"))], devicekey.BadMaterial},
		{"DER without PEM", der(t, private), devicekey.BadMaterial},
		{"a bare seed", seed, devicekey.BadMaterial},
		{"a placeholder", []byte("REPLACE_ME\n"), devicekey.BadMaterial},
		{"nothing", nil, devicekey.BadMaterial},
		{"blanks", []byte(" \n"), devicekey.BadMaterial},

		{"OpenSSH under a passphrase", pem.EncodeToMemory(locked), devicekey.Encrypted},
		{"PKCS#8 under a passphrase", block("ENCRYPTED "+pkcs8Label, der(t, private)), devicekey.Encrypted},
		{"PEM under a passphrase (RFC 1421)", pem.EncodeToMemory(&pem.Block{
			Type: pkcs8Label, Headers: map[string]string{"Proc-Type": "4,ENCRYPTED", "DEK-Info": "AES-128-CBC,00"}, Bytes: seed,
		}), devicekey.Encrypted},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			path, v := filepath.Join(t.TempDir(), "device.key"), newVault(t)
			given := bytes.Clone(row.text)
			k, err := devicekey.Import(ctx, path, given, v)
			require.True(t, bytes.Equal(row.text, given), "the argument is the caller's")
			if row.want != sound {
				require.Nil(t, k)
				e := refused(t, row.want, err)
				require.Nil(t, e.Err, "a parser may tell what it found")
				require.Empty(t, names(t, path))
				return
			}
			require.NoError(t, err)
			require.Equal(t, public, k.Public())
			requireHidden(t, content(t, path), seed)
			again, err := devicekey.Load(ctx, path, v)
			require.NoError(t, err)
			require.Equal(t, k.ID(), again.ID())
			signature, err := again.Sign(nil, message, plain)
			require.NoError(t, err)
			require.Equal(t, ed25519.Sign(private, message), signature)
		})
	}
}

// TestChangedPublicHalf shows what the format does that this package does not keep keys in: one flipped bit of an
// encrypted OpenSSH file goes unnoticed, and a signature before and one after it give the private key away
// (RUSTSEC-2022-0093). The same flip here is refused.
func TestChangedPublicHalf(t *testing.T) {
	private := ed25519.NewKeyFromSeed(newSeed())
	encrypted, err := ssh.MarshalPrivateKeyWithPassphrase(private, "", []byte("phrase"))
	require.NoError(t, err)
	// Of the private section, without a comment, 131 bytes and padding: the copy behind the seed begins at 99.
	section := (131 + 15) / 16 * 16
	encrypted.Bytes[len(encrypted.Bytes)-section+99] ^= 1
	parsed, err := ssh.ParseRawPrivateKeyWithPassphrase(pem.EncodeToMemory(encrypted), []byte("phrase"))
	require.NoError(t, err, "the naive way notices nothing")
	changed := *parsed.(*ed25519.PrivateKey)
	require.Equal(t, private.Seed(), changed.Seed())
	require.NotEqual(t, private, changed)

	before, after := ed25519.Sign(private, message), ed25519.Sign(changed, message)
	require.Equal(t, before[:32], after[:32], "one R for two challenges")
	order, _ := new(big.Int).SetString("1000000000000000000000000000000014def9dea2f79cd65812631a5cf5d3ed", 16)
	number := func(b []byte) *big.Int {
		b = bytes.Clone(b)
		slices.Reverse(b)
		return new(big.Int).SetBytes(b)
	}
	challenge := func(key ed25519.PrivateKey, signature []byte) *big.Int {
		h := sha512.Sum512(slices.Concat(signature[:32], key[32:], message))
		return number(h[:])
	}
	scalar := new(big.Int).Sub(challenge(private, before), challenge(changed, after))
	scalar.ModInverse(scalar.Mod(scalar, order), order)
	scalar.Mul(scalar, new(big.Int).Sub(number(before[32:]), number(after[32:])))
	h := sha512.Sum512(private.Seed())
	h[0], h[31] = h[0]&248, h[31]&127|64 // RFC 8032, section 5.1.5
	require.Zero(t, new(big.Int).Mod(number(h[:32]), order).Cmp(scalar.Mod(scalar, order)), "the private key was not recovered")

	path, p := filepath.Join(t.TempDir(), "device.key"), malleable{}
	_, err = devicekey.Import(ctx, path, block(pkcs8Label, der(t, private)), p)
	require.NoError(t, err)
	public, sealed, err := devicekey.Decode(content(t, path))
	require.NoError(t, err)
	public[0] ^= 1
	require.NoError(t, os.WriteFile(path, devicekey.Encode(public, sealed), 0o600))
	_, err = devicekey.Load(ctx, path, p)
	refused(t, devicekey.Mismatch, err)
}

// program is the path of a program that other people wrote, which is the referee here.
func program(t testing.TB, name, pkg string) string {
	path, err := exec.LookPath(name)
	if err != nil {
		if os.Getenv("CI") != "" {
			t.Fatalf("%s is missing: install the package %s", name, pkg)
		}
		t.Skipf("%s is missing: install the package %s", name, pkg)
	}
	return path
}

func run(t testing.TB, name string, args ...string) string {
	t.Helper()
	out, err := exec.Command(name, args...).CombinedOutput()
	require.NoError(t, err, "%s", out)
	return string(out)
}

func TestExportOpenSSH(t *testing.T) {
	keygen := program(t, "ssh-keygen", "openssh-client")
	seed := newSeed()
	dir := t.TempDir()
	k, err := devicekey.Import(ctx, filepath.Join(dir, "device.key"), pkcs8(t, seed), newVault(t))
	require.NoError(t, err)

	for _, none := range [][]byte{nil, {}} {
		out, err := k.ExportOpenSSH(ctx, none)
		require.Nil(t, out)
		refused(t, devicekey.NoPassphrase, err)
	}
	out, err := k.ExportOpenSSH(ctx, []byte("phrase"))
	require.NoError(t, err)
	requireHidden(t, out, seed)
	b, _ := pem.Decode(out)
	requireHidden(t, b.Bytes, seed)

	path := filepath.Join(dir, "exported")
	require.NoError(t, os.WriteFile(path, out, 0o600))
	public, err := ssh.NewPublicKey(k.Public())
	require.NoError(t, err)
	line := strings.TrimSpace(string(ssh.MarshalAuthorizedKey(public)))
	require.True(t, strings.HasPrefix(run(t, keygen, "-y", "-P", "phrase", "-f", path), line))
	require.Error(t, exec.Command(keygen, "-y", "-P", "another", "-f", path).Run())
	_, err = devicekey.Import(ctx, filepath.Join(dir, "again"), out, newVault(t))
	refused(t, devicekey.Encrypted, err)

	// And back: ssh-keygen takes the passphrase off, as the advice says.
	run(t, keygen, "-p", "-P", "phrase", "-N", "", "-f", path)
	again, err := devicekey.Import(ctx, filepath.Join(dir, "again"), content(t, path), newVault(t))
	require.NoError(t, err)
	require.Equal(t, k.ID(), again.ID())
}

func TestImportFromOthers(t *testing.T) {
	dir := t.TempDir()
	t.Run("ssh-keygen", func(t *testing.T) {
		path := filepath.Join(dir, "ssh")
		run(t, program(t, "ssh-keygen", "openssh-client"), "-q", "-t", "ed25519", "-N", "", "-f", path)
		k, err := devicekey.Import(ctx, filepath.Join(dir, "a"), content(t, path), newVault(t))
		require.NoError(t, err)
		public, _, _, _, err := ssh.ParseAuthorizedKey(content(t, path+".pub"))
		require.NoError(t, err)
		require.Equal(t, public.(ssh.CryptoPublicKey).CryptoPublicKey(), k.Public())
	})
	t.Run("openssl", func(t *testing.T) {
		openssl, path := program(t, "openssl", "openssl"), filepath.Join(dir, "pem")
		run(t, openssl, "genpkey", "-algorithm", "ed25519", "-out", path)
		k, err := devicekey.Import(ctx, filepath.Join(dir, "b"), content(t, path), newVault(t))
		require.NoError(t, err)
		b, _ := pem.Decode([]byte(run(t, openssl, "pkey", "-in", path, "-pubout")))
		public, err := x509.ParsePKIXPublicKey(b.Bytes)
		require.NoError(t, err)
		require.Equal(t, public, k.Public())
		run(t, openssl, "pkey", "-in", path, "-aes256", "-passout", "pass:phrase", "-out", path+".enc")
		_, err = devicekey.Import(ctx, filepath.Join(dir, "c"), content(t, path+".enc"), newVault(t))
		refused(t, devicekey.Encrypted, err)
	})
}

// walk returns all bytes and text that reflection reaches from v, along pointers and into unexported fields.
func walk(v any) string {
	var found strings.Builder
	seen := map[uintptr]bool{}
	var visit func(reflect.Value)
	visit = func(v reflect.Value) {
		switch v.Kind() {
		case reflect.Uint8:
			found.WriteByte(byte(v.Uint()))
		case reflect.String:
			found.WriteString(v.String())
		case reflect.Pointer:
			if v.IsNil() || seen[v.Pointer()] {
				return
			}
			seen[v.Pointer()] = true
			visit(v.Elem())
		case reflect.Interface:
			if !v.IsNil() {
				visit(v.Elem())
			}
		case reflect.Slice, reflect.Array:
			for i := range v.Len() {
				visit(v.Index(i))
			}
		case reflect.Struct:
			for i := range v.NumField() {
				visit(v.Field(i))
			}
		}
	}
	visit(reflect.ValueOf(v))
	return found.String()
}

func TestWalkBites(t *testing.T) {
	require.Equal(t, "abc", walk(&struct{ key *[]byte }{&[]byte{'a', 'b', 'c'}}))
}

func phrase(p string) devicekey.Protector {
	return devicekey.Passphrase(func(context.Context) ([]byte, error) { return []byte(p), nil })
}

var errPrompt = errors.New("no terminal")
