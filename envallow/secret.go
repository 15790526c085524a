// SPDX-License-Identifier: Apache-2.0

package envallow

import (
	"strings"
)

// A shape says how a token goes on after its prefix.
type shape uint8

const (
	anything shape = iota
	mixed          // has a digit or a capital letter, as words in a file name seldom do
	capital        // capital letters and digits alone, of exactly this length
	dotted         // three parts with dots between (RFC 7519)
	telegram       // after a number and a colon
	discord        // three parts of 24 to 28, 6 and 27 or more
)

// tokens are the prefixes by which services mark their credentials, as their documentation and secret scanners give
// them; least is the length of the whole token below which it is none.
var tokens = [...]struct {
	prefixes string
	least    int
	shape    shape
	issuer   string
}{
	{"ghp_ gho_ ghu_ ghs_ ghr_ github_pat_", 36, anything, "GitHub"},
	{"glpat- gldt- glrt- glcbt- glptt- glft- glsoat- glagent- gloas- glimt- GR1348941", 20, anything, "GitLab"},
	{"AKIA ASIA ABIA ACCA", 20, capital, "AWS"},
	{"sk-ant- sk-proj- sk-svcacct- sk-or-v1- sk-admin-", 20, anything, "Anthropic, OpenAI, OpenRouter"},
	{"sk-", 32, mixed, "OpenAI, DeepSeek and others"},
	{"sk_live_ sk_test_ rk_live_ rk_test_ whsec_", 20, anything, "Stripe"},
	{"xoxb- xoxp- xoxa- xoxr- xoxs- xoxe- xoxe. xoxo- xoxc- xoxd- xapp-", 20, anything, "Slack"},
	{"AIza", 35, anything, "Google API"},
	{"ya29. GOCSPX-", 20, anything, "Google OAuth"},
	{"eyJ", 20, dotted, "JSON Web Token"},
	{"ewogIC eyJ0eXBlIjoic2VydmljZV9hY2NvdW50", 40, anything, "service account, in base64"},
	{"LS0tLS1CRUdJTi", 20, anything, "PEM, in base64"},
	{"npm_", 36, mixed, "npm"},
	{"pypi-AgE rubygems_", 20, anything, "PyPI, RubyGems"},
	{"hf_ api_org_", 34, mixed, "Hugging Face"},
	{"AGE-SECRET-KEY-1 AGE-PLUGIN-", 20, anything, "age"},
	{"dop_v1_ doo_v1_ dor_v1_", 20, anything, "DigitalOcean"},
	{"SG.", 40, mixed, "SendGrid"},
	{"shpat_ shpss_ shpca_ shppa_", 32, anything, "Shopify"},
	{"dckr_pat_ dckr_oat_", 20, anything, "Docker Hub"},
	{"hvs. hvb. hvr.", 20, anything, "HashiCorp Vault"},
	{"lin_api_ lin_oauth_ ntn_ figd_ PMAK- nfp_ nfc_ sbp_ sb_secret_ r8_ gsk_ xai- pplx- nvapi- tvly- lsv2_ jina_ csk- fw_ key_live_", 24, mixed, "Linear, Notion, Figma, Postman, Netlify, Supabase, Replicate, Groq, xAI, Perplexity, NVIDIA, Tavily, LangSmith"},
	{"sntrys_ sntryu_ glc_ glsa_ NRAK- dapi dp.pt. dp.st. dp.ct. pul- rdme_ tskey- bkua_ CCIPAT_ HRKU- fo1_ phx_ phc_ pat-na1- pat-eu1- doppler_", 30, mixed, "Sentry, Grafana, New Relic, Databricks, Doppler, Pulumi, Tailscale, Buildkite, CircleCI, Heroku, Fly"},
	{"pscale_pw_ pscale_tkn_ pscale_oauth_", 30, anything, "PlanetScale"},
	{"ATATT3 ATCTT3 ATBB", 20, anything, "Atlassian"},
	{"sq0atp- sq0csp- sq0idp- EAAAE FLWSECK- FLWSECK_", 22, anything, "Square, Flutterwave"},
	{"ops_eyJ A3-", 34, mixed, "1Password"},
	{"LTAI", 20, mixed, "Alibaba Cloud"},
	{"PuTTY-User-Key-File-", 20, anything, "PuTTY"},
	{"AA", 35, telegram, "Telegram"},
	{"M N O", 50, discord, "Discord"},
}

type token struct {
	prefix string
	least  int
	shape  shape
}

// A tokenIndex has the tokens by their first byte.
type tokenIndex [128][]token

func newTokenIndex() tokenIndex {
	var x tokenIndex
	for _, t := range tokens {
		for prefix := range strings.FieldsSeq(t.prefixes) {
			x[prefix[0]] = append(x[prefix[0]], token{prefix, t.least, t.shape})
		}
	}
	return x
}

// secret reports whether a value looks like a credential, or has one in it. Most values are left after a search for
// three bytes and a look at every sixteenth.
func (x *tokenIndex) secret(v string) bool {
	if strings.IndexByte(v, '@') >= 0 && passwordInURL(v) {
		return true
	}
	if i := strings.Index(v, "-----BEGIN"); i >= 0 && strings.Contains(v[i:], "PRIVATE KEY") {
		return true
	}
	if strings.IndexByte(v, '=') >= 0 && passwordInPairs(v) {
		return true
	}
	return header(v) || webhook(v) || account(v) || x.token(v)
}

// passwordInURL finds scheme://user:password@host, and user:password@tcp(host) of Go's MySQL driver.
func passwordInURL(v string) bool {
	if i := strings.Index(v, "@tcp("); i >= 0 && strings.IndexByte(v[:i], ':') >= 0 {
		return true
	}
	for {
		i := strings.Index(v, "://")
		if i < 0 {
			return false
		}
		v = v[i+3:]
		authority := v
		if end := strings.IndexAny(v, "/?# \t\r\n\"'<>"); end >= 0 {
			authority = v[:end]
		}
		user := authority[:max(0, strings.LastIndexByte(authority, '@'))]
		if colon := strings.IndexByte(user, ':'); colon >= 0 && colon+1 < len(user) {
			return true
		}
	}
}

// passwordInPairs finds password=… in connection strings of libpq, ODBC, ADO.NET, Azure and in the query of a URL.
func passwordInPairs(v string) bool {
	for at := 0; ; {
		i := strings.IndexByte(v[at:], '=')
		if i < 0 {
			return false
		}
		end := at + i
		start := end
		for start > 0 && ('a' <= v[start-1]|0x20 && v[start-1]|0x20 <= 'z' || v[start-1] == '_') {
			start--
		}
		at = end + 1
		if at == len(v) || v[at] == ';' || v[at] == '&' || v[at] == ' ' {
			continue
		}
		switch strings.ToLower(v[start:min(end, start+32)]) {
		case "password", "passwd", "pwd", "pass", "accountkey", "sharedaccesskey", "sharedaccesssignature", "sig", "client_secret", "access_token", "api_key", "apikey", "auth_token", "_authtoken", "secretkey", "secret_key":
			return true
		}
	}
}

// header finds an Authorization header, or the value of one (RFC 9110 section 11.6.2).
func header(v string) bool {
	if i := strings.IndexByte(v, ':'); i > 0 && i < 24 && strings.HasSuffix(strings.ToLower(v[:i]), "authorization") {
		v = strings.TrimSpace(v[i+1:])
	}
	for _, scheme := range [...]string{"bearer ", "basic "} {
		if len(v) >= len(scheme)+8 && strings.EqualFold(v[:len(scheme)], scheme) && strings.IndexByte(v[len(scheme):], ' ') < 0 {
			return true
		}
	}
	return false
}

// webhook finds an address that whoever knows it may post to.
func webhook(v string) bool {
	rest, ok := strings.CutPrefix(v, "https://")
	return ok && (strings.HasPrefix(rest, "hooks.slack.com/") || strings.HasPrefix(rest, "discord.com/api/webhooks/") || strings.HasPrefix(rest, "discordapp.com/api/webhooks/"))
}

// account finds a line of netrc, and a JSON document with a credential: a service account, a user's tokens, Docker's
// registry logins.
func account(v string) bool {
	v = strings.TrimLeft(v, " \t\r\n'\"")
	if strings.HasPrefix(v, "machine ") && strings.Contains(v, " password ") {
		return true
	}
	if !strings.HasPrefix(v, "{") {
		return false
	}
	for _, field := range [...]string{"private_key", "client_secret", "clientSecret", "refresh_token", "access_token", "secret_access_key", "SecretAccessKey", "password", "auth", "auths", "token", "apiKey", "api_key"} {
		if i := strings.Index(v, `"`+field+`"`); i >= 0 {
			return true
		}
	}
	return false
}

// stride is how far apart the bytes are that token looks at. No token is shorter.
const stride = 16

// token finds a run of token characters that begins like a credential.
func (x *tokenIndex) token(v string) bool {
	for i := stride - 1; i < len(v); i += stride {
		if !tokenByte(v[i]) {
			continue
		}
		start, end := i, i+1
		for start > 0 && tokenByte(v[start-1]) {
			start--
		}
		for end < len(v) && tokenByte(v[end]) {
			end++
		}
		if end-start >= stride && x.run(v, start, end) {
			return true
		}
		i = end
	}
	return false
}

func tokenByte(c byte) bool {
	return 'a' <= c|0x20 && c|0x20 <= 'z' || '0' <= c && c <= '9' || c == '_' || c == '-' || c == '.'
}

func (x *tokenIndex) run(v string, start, end int) bool {
	run := strings.TrimLeft(v[start:end], "-_.")
	if run == "" {
		return false
	}
	for _, t := range x[run[0]] {
		if len(run) >= t.least && strings.HasPrefix(run, t.prefix) && t.shape.fits(run, v[:end-len(run)], t) {
			return true
		}
	}
	return false
}

func (s shape) fits(run, before string, t token) bool {
	switch s {
	case mixed:
		return strings.ContainsFunc(run[len(t.prefix):], func(r rune) bool { return '0' <= r && r <= '9' || 'A' <= r && r <= 'Z' })
	case capital:
		return len(run) == t.least && !strings.ContainsFunc(run, func(r rune) bool { return r == '-' || r == '_' || r == '.' || 'a' <= r })
	case dotted:
		return strings.Count(run, ".") >= 2
	case telegram:
		digits := before[:max(0, len(before)-1)]
		return len(run) == t.least && strings.HasSuffix(before, ":") && len(digits) >= 6 &&
			!strings.ContainsFunc(digits[len(digits)-6:], func(r rune) bool { return r < '0' || r > '9' })
	case discord:
		parts := strings.Split(run, ".")
		return len(parts) == 3 && len(parts[0]) >= 24 && len(parts[0]) <= 28 && len(parts[1]) == 6 && len(parts[2]) >= 27
	}
	return true
}
