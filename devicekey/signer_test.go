// SPDX-License-Identifier: Apache-2.0

package devicekey_test

import (
	"bytes"
	"crypto"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"io"
	"math/big"
	"net"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/crypto/ssh"

	"github.com/merlon-go/merlon/devicekey"
)

var _ crypto.Signer = (*devicekey.Key)(nil)

func certificate(t testing.TB, k *devicekey.Key) *x509.Certificate {
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "device"}, DNSNames: []string{"device"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), BasicConstraintsValid: true, IsCA: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, k.Public(), k)
	require.NoError(t, err)
	c, err := x509.ParseCertificate(der)
	require.NoError(t, err)
	return c
}

func TestX509(t *testing.T) {
	k, _, _, _ := start(t)
	c := certificate(t, k)
	require.NoError(t, c.CheckSignatureFrom(c))
	require.Equal(t, k.Public(), c.PublicKey)

	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, k)
	require.NoError(t, err)
	request, err := x509.ParseCertificateRequest(der)
	require.NoError(t, err)
	require.NoError(t, request.CheckSignature())
}

func TestTLS(t *testing.T) {
	k, _, _, _ := start(t)
	c := certificate(t, k)
	roots := x509.NewCertPool()
	roots.AddCert(c)
	client, server := net.Pipe()
	failed := make(chan error, 1)
	go func() {
		s := tls.Server(server, &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{c.Raw}, PrivateKey: k}}})
		_, err := s.Write(message)
		failed <- err
	}()
	got := make([]byte, len(message))
	_, err := io.ReadFull(tls.Client(client, &tls.Config{RootCAs: roots, ServerName: "device"}), got)
	require.NoError(t, err)
	require.NoError(t, <-failed)
	require.Equal(t, message, got)
}

func TestSSH(t *testing.T) {
	k, _, _, _ := start(t)
	signer, err := ssh.NewSignerFromSigner(k)
	require.NoError(t, err)
	signature, err := signer.Sign(rand.Reader, message)
	require.NoError(t, err)
	require.NoError(t, signer.PublicKey().Verify(message, signature))
	require.Error(t, signer.PublicKey().Verify([]byte("another"), signature))
	public, err := ssh.NewPublicKey(k.Public())
	require.NoError(t, err)
	require.True(t, bytes.Equal(public.Marshal(), signer.PublicKey().Marshal()))
}

func TestNoKeyIsNoSigner(t *testing.T) {
	for _, k := range []*devicekey.Key{nil, {}} {
		template := &x509.Certificate{SerialNumber: big.NewInt(1)}
		_, err := x509.CreateCertificate(rand.Reader, template, template, k.Public(), k)
		require.Error(t, err)
		_, err = ssh.NewSignerFromSigner(k)
		require.Error(t, err)
	}
}
