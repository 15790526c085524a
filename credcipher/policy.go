// SPDX-License-Identifier: Apache-2.0

package credcipher

import (
	"fmt"
	"strconv"
)

// A Policy says what is done with plaintext. Its text form is the name in lower case with hyphens.
//
// Where a configuration file and an environment variable can both set it, let the file win and ask [PolicyFromEnv] only
// if the file is silent: keep a *Policy in the configuration, nil if the member is absent. A variable that some parent
// process left behind then never loosens what the file demands.
type Policy uint8

const (
	// RequireSealed writes envelopes and reads nothing else. It is the zero value.
	RequireSealed Policy = iota

	// Migrate writes envelopes, and also reads plaintext where no envelope has been seen so far. It is weaker: until
	// a place is marked, whoever can write there can still put plaintext. Use it until Reseal is through.
	Migrate

	// InsecurePlaintext writes plaintext, and reads plaintext as well as envelopes. It protects nothing; it is for
	// whoever has to leave, or to look at what is stored while developing.
	InsecurePlaintext
)

const (
	requireSealedText     = "require-sealed"
	migrateText           = "migrate"
	insecurePlaintextText = "insecure-plaintext"
)

// String returns the text form, or the number of a Policy that does not exist.
func (p Policy) String() string {
	switch p {
	case RequireSealed:
		return requireSealedText
	case Migrate:
		return migrateText
	case InsecurePlaintext:
		return insecurePlaintextText
	}
	return "Policy(" + strconv.Itoa(int(p)) + ")"
}

// MarshalText returns the text form; a Policy that does not exist is an error.
func (p Policy) MarshalText() ([]byte, error) {
	if p > InsecurePlaintext {
		return nil, fmt.Errorf("credcipher: %v does not exist", p)
	}
	return []byte(p.String()), nil
}

// UnmarshalText reads the text form; any other text, the empty one too, is an error and leaves p as it was.
func (p *Policy) UnmarshalText(text []byte) error {
	switch string(text) {
	case requireSealedText:
		*p = RequireSealed
	case migrateText:
		*p = Migrate
	case insecurePlaintextText:
		*p = InsecurePlaintext
	default:
		return fmt.Errorf("credcipher: policy %.40q does not exist; use %s, %s or %s",
			text, requireSealedText, migrateText, insecurePlaintextText)
	}
	return nil
}

// PolicyFromEnv reads the policy from the variable of that name; get is os.Getenv, or a lookup in an environment of
// your own. An unset or empty variable is RequireSealed. Any other value that is no policy is an error, beside
// RequireSealed.
func PolicyFromEnv(get func(string) string, name string) (Policy, error) {
	var p Policy
	text := get(name)
	if text == "" {
		return RequireSealed, nil
	}
	if err := p.UnmarshalText([]byte(text)); err != nil {
		return RequireSealed, fmt.Errorf("credcipher: variable %s: %w", name, err)
	}
	return p, nil
}
