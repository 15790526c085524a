// SPDX-License-Identifier: Apache-2.0

// Package secretequal measures merlon's secretequal beside the comparisons that services are written with today.
package secretequal

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"fmt"

	"github.com/merlon-go/merlon/bench/measure"
	"github.com/merlon-go/merlon/secretequal"
)

// Subject presents the right secret, which is the longest way for every implementation.
func Subject() (measure.Subject, error) {
	const entries = 16
	token := make([]byte, 43)
	rand.Read(token)
	presented := append([]byte(nil), token...)

	verifier, err := secretequal.New(token)
	if err != nil {
		return measure.Subject{}, err
	}
	tokens := [entries][]byte{entries - 1: token} // the last, for those that stop at a match
	for i := range entries - 1 {
		tokens[i] = make([]byte, 43)
		rand.Read(tokens[i])
	}
	byID := map[string][]byte{}
	for i, token := range tokens {
		byID[fmt.Sprint(i)] = token
	}
	set, err := secretequal.NewSet(byID)
	if err != nil {
		return measure.Subject{}, err
	}

	// each makes a job's entry of a comparison with one token, or with one after another.
	each := func(name string, tokens [][]byte, equal func(token, presented []byte) bool) measure.Entry {
		return measure.Entry{Name: name, Run: func(n int) {
			for range n {
				for _, token := range tokens {
					if equal(token, presented) {
						break
					}
				}
			}
		}}
	}
	one, all := [][]byte{token}, tokens[:]
	return measure.Subject{
		Name: "secretequal",
		Jobs: []measure.Job{
			{
				Name: "Match, 43 bytes",
				Entries: []measure.Entry{
					{Name: "Verifier.Match", Run: func(n int) {
						for range n {
							verifier.Match(presented)
						}
					}},
					each("HMAC both", one, hmacBoth),
					each("SHA-256 both", one, sha256Both),
					each("hmac.Equal", one, hmac.Equal),
					each("ConstantTimeCompare", one, constantTimeCompare),
				},
				Bars: []measure.Bar{measure.Faster(4, "HMAC both"), measure.Allocs(0)},
			},
			{
				Name: "Match in 16, 43 bytes",
				Entries: []measure.Entry{
					{Name: "Set.Match", Run: func(n int) {
						for range n {
							set.Match(presented)
						}
					}},
					each("HMAC both, each", all, hmacBoth),
					each("SHA-256 both, each", all, sha256Both),
					each("ConstantTimeCompare, each", all, constantTimeCompare),
				},
				Bars: []measure.Bar{measure.Faster(4, "HMAC both, each"), measure.Allocs(0)},
			},
			{
				Name: "Equal, 43 bytes",
				Entries: []measure.Entry{
					each("Equal", one, secretequal.Equal),
					each("HMAC both", one, hmacBoth),
					each("SHA-256 both", one, sha256Both),
					each("ConstantTimeCompare", one, constantTimeCompare),
				},
				Bars: []measure.Bar{measure.Faster(4, "HMAC both"), measure.Allocs(0)},
			},
		},
	}, nil
}

var hmacKey = []byte("a label that everybody knows")

// hmacBoth is the usual advice, with a fresh hash for each side.
func hmacBoth(token, presented []byte) bool {
	return hmac.Equal(mac(presented), mac(token))
}

func mac(message []byte) []byte {
	h := hmac.New(sha256.New, hmacKey)
	h.Write(message)
	return h.Sum(nil)
}

func sha256Both(token, presented []byte) bool {
	x, y := sha256.Sum256(presented), sha256.Sum256(token)
	return subtle.ConstantTimeCompare(x[:], y[:]) == 1
}

func constantTimeCompare(token, presented []byte) bool {
	return subtle.ConstantTimeCompare(presented, token) == 1
}
