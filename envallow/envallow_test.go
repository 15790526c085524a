// SPDX-License-Identifier: Apache-2.0

package envallow_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/require"

	"github.com/merlon-go/merlon/envallow"
)

func policy(t testing.TB, c envallow.Config) *envallow.Policy {
	t.Helper()
	p, err := envallow.New(c)
	require.NoError(t, err)
	return p
}

// naive is the list of a dozen that services have. Rows that it lets through prove that they bite.
func naive(name, value string) bool {
	for _, bad := range []string{"LD_PRELOAD", "LD_LIBRARY_PATH", "BASH_ENV", "PYTHONPATH", "NODE_OPTIONS", "GIT_SSH_COMMAND"} {
		if name == bad {
			return false
		}
	}
	for _, part := range []string{"SECRET", "TOKEN", "PASSWORD", "KEY", "AUTH"} {
		if strings.Contains(name, part) {
			return false
		}
	}
	return value != ""
}

// pieces join a value that must not stand in this file as it is.
func pieces(parts ...string) string { return strings.Join(parts, "") }

var a20 = strings.Repeat("a1", 10)

type decision struct {
	name, value string
	strict      envallow.Reason
	inherit     envallow.Reason
	class       envallow.Class
}

// Every Reason that Filter has, in both modes.
var decisions = []struct {
	row string
	decision
}{
	{"a home", decision{"HOME", "/home/u", envallow.Listed, envallow.Listed, envallow.Session}},
	{"an empty home", decision{"HOME", "", envallow.UnsafeValue, envallow.UnsafeValue, envallow.Session}},
	{"a home in the working directory", decision{"HOME", "x", envallow.UnsafeValue, envallow.UnsafeValue, envallow.Session}},
	{"a relative TMPDIR", decision{"TMPDIR", "tmp", envallow.UnsafeValue, envallow.UnsafeValue, envallow.Session}},
	{"a relative PWD", decision{"PWD", ".", envallow.UnsafeValue, envallow.UnsafeValue, envallow.Session}},
	{"a relative TMP", decision{"TMP", ".", envallow.UnsafeValue, envallow.UnsafeValue, envallow.Session}},
	{"a relative TEMP", decision{"TEMP", ".", envallow.UnsafeValue, envallow.UnsafeValue, envallow.Session}},
	{"a name that only Windows takes for HOME", decision{"home", "/home/u", envallow.NotListed, envallow.Inherited, envallow.Session}},
	{"a locale", decision{"LC_TIME", "de_DE.UTF-8", envallow.Listed, envallow.Listed, envallow.Session}},
	{"a locale that is a file", decision{"LC_TIME", "../evil", envallow.UnsafeValue, envallow.UnsafeValue, envallow.Session}},
	{"a locale that is a format", decision{"LANG", "%n", envallow.UnsafeValue, envallow.UnsafeValue, envallow.Session}},
	{"a terminal that is a file", decision{"TERM", "a/b", envallow.UnsafeValue, envallow.UnsafeValue, envallow.Session}},
	{"a line break in a value", decision{"TERM", "xterm\nX=1", envallow.UnsafeValue, envallow.UnsafeValue, envallow.Session}},
	{"the last control character", decision{"USER", "a\x1f", envallow.UnsafeValue, envallow.UnsafeValue, envallow.Session}},
	{"a delete character", decision{"USER", "a\x7f", envallow.UnsafeValue, envallow.UnsafeValue, envallow.Session}},
	{"a blank and a tilde are plain", decision{"USER", "a ~", envallow.Listed, envallow.Listed, envallow.Session}},
	{"a time zone", decision{"TZ", "Europe/Berlin", envallow.Listed, envallow.Listed, envallow.Session}},
	{"a time zone rule", decision{"TZ", ":CET-1CEST,M3.5.0,M10.5.0/3", envallow.Listed, envallow.Listed, envallow.Session}},
	{"a file of time zones", decision{"TZ", "/usr/share/zoneinfo/UTC", envallow.Listed, envallow.Listed, envallow.Session}},
	{"a file elsewhere as time zone", decision{"TZ", ":/tmp/x", envallow.UnsafeValue, envallow.UnsafeValue, envallow.Session}},
	{"a way out of the time zones", decision{"TZ", "/usr/share/zoneinfo/../x", envallow.UnsafeValue, envallow.UnsafeValue, envallow.Session}},
	{"a blank in a time zone", decision{"TZ", "a b", envallow.UnsafeValue, envallow.UnsafeValue, envallow.Session}},
	{"a clean PATH", decision{"PATH", "/usr/bin:/bin", envallow.Listed, envallow.Listed, envallow.Session}},
	{"a PATH with the working directory", decision{"PATH", ".:/bin", envallow.Cleaned, envallow.Cleaned, envallow.Session}},
	{"a PATH of the working directory alone", decision{"PATH", ".:", envallow.UnsafeValue, envallow.UnsafeValue, envallow.Session}},
	{"an empty PATH", decision{"PATH", "", envallow.UnsafeValue, envallow.UnsafeValue, envallow.Session}},
	{"a control character in PATH", decision{"PATH", "/a\n:/b", envallow.UnsafeValue, envallow.UnsafeValue, envallow.Session}},
	{"a hijacker in small letters", decision{"git_ssh_command", "x", envallow.Hijack, envallow.Hijack, envallow.VCS}},
	{"a hijacker of a family", decision{"GIT_NEXT_YEARS_VARIABLE", "x", envallow.Hijack, envallow.Hijack, envallow.VCS}},
	{"a hijacker by its ending", decision{"ACME_PAGER", "x", envallow.Hijack, envallow.Hijack, envallow.Helper}},
	{"an ending in two words", decision{"ACME_PLUGIN_PATH", "x", envallow.Hijack, envallow.Hijack, envallow.Loader}},
	{"an ending alone", decision{"_PAGER", "x", envallow.NotListed, envallow.Inherited, envallow.Unlisted}},
	{"a beginning alone", decision{"LD_", "x", envallow.Hijack, envallow.Hijack, envallow.Loader}},
	{"a wide family's harmless part", decision{"GIT_AUTHOR_NAME", "Ada", envallow.NotListed, envallow.Inherited, envallow.Unlisted}},
	{"a harmless name within a family", decision{"CGO_ENABLED", "0", envallow.NotListed, envallow.Inherited, envallow.Unlisted}},
	{"a location", decision{"XDG_CONFIG_HOME", "/home/u/.config", envallow.NotListed, envallow.Inherited, envallow.Location}},
	{"an agent", decision{"SSH_AUTH_SOCK", "/run/agent", envallow.NotListed, envallow.Inherited, envallow.Location}},
	{"a location by its ending", decision{"ACME_CONFIG_FILE", "/x", envallow.NotListed, envallow.Inherited, envallow.Location}},
	{"a location's ending makes no hijacker harmless", decision{"GIT_CONFIG_FILE", "/x", envallow.Hijack, envallow.Hijack, envallow.VCS}},
	{"a location's ending makes no secret harmless", decision{"OP_SESSION_HOME", "x", envallow.SecretName, envallow.SecretName, envallow.Secret}},
	{"a hijacker's ending counts before a location's", decision{"ACME_CACHE_DIR_PAGER", "x", envallow.Hijack, envallow.Hijack, envallow.Helper}},
	{"a component of MPI", decision{"OMPI_MCA_plm_rsh_agent", "x", envallow.Hijack, envallow.Hijack, envallow.Loader}},
	{"a rank of MPI", decision{"OMPI_COMM_WORLD_RANK", "0", envallow.NotListed, envallow.Inherited, envallow.Unlisted}},
	{"a profiler of CUDA", decision{"CUDA_INJECTION64_PATH", "/x", envallow.Hijack, envallow.Hijack, envallow.Loader}},
	{"a command that prints a password", decision{"ACME_PASS_CMD", "x", envallow.Hijack, envallow.Hijack, envallow.Helper}},
	{"a secret in a family of locations", decision{"TF_VAR_db_password", "x", envallow.SecretName, envallow.SecretName, envallow.Secret}},
	{"a secret family", decision{"OP_SESSION_acme", "x", envallow.SecretName, envallow.SecretName, envallow.Secret}},
	{"a secret by no word", decision{"PGPASSFILE", "/x", envallow.SecretName, envallow.SecretName, envallow.Secret}},
	{"an unknown name", decision{"ACME_REGION", "eu", envallow.NotListed, envallow.Inherited, envallow.Unlisted}},
	{"an empty value is a value", decision{"ACME_REGION", "", envallow.NotListed, envallow.Inherited, envallow.Unlisted}},
	{"CVE-2014-6271: a function in a value", decision{"ACME_REGION", "() { :; }; id", envallow.ShellFunction, envallow.ShellFunction, envallow.Shell}},
	{"an exported function", decision{"BASH_FUNC_ls%%", "() { id; }", envallow.ShellFunction, envallow.ShellFunction, envallow.Shell}},
	{"an exported function of Apple's bash", decision{"__BASH_FUNC<ls>()", "() { id; }", envallow.ShellFunction, envallow.ShellFunction, envallow.Shell}},
	{"a hyphen in a name", decision{"A-B", "x", envallow.Malformed, envallow.Malformed, envallow.Unlisted}},
	{"a digit first", decision{"1A", "x", envallow.Malformed, envallow.Malformed, envallow.Unlisted}},
	{"brackets in a name", decision{"PROGRAMFILES(X86)", "x", envallow.Malformed, envallow.Malformed, envallow.Unlisted}},
	{"NUL in a value", decision{"ACME_REGION", "a\x00LD_PRELOAD=/x", envallow.Malformed, envallow.Malformed, envallow.Unlisted}},
	{"NUL before all else in a value", decision{"ACME_REGION", "\x00x", envallow.Malformed, envallow.Malformed, envallow.Unlisted}},
	{"one byte below 128 KiB", decision{"ACME_REGION", strings.Repeat("x", 128<<10-len("ACME_REGION=")-1), envallow.NotListed, envallow.Inherited, envallow.Unlisted}},
	{"128 KiB", decision{"ACME_REGION", strings.Repeat("x", 128<<10-len("ACME_REGION=")), envallow.Malformed, envallow.Malformed, envallow.Unlisted}},
}

func TestDecisions(t *testing.T) {
	fooled := 0
	for _, row := range decisions {
		t.Run(row.row, func(t *testing.T) {
			entry := row.name + "=" + row.value
			for mode, want := range map[envallow.Mode]envallow.Reason{envallow.Strict: row.strict, envallow.Inherit: row.inherit} {
				p := policy(t, envallow.Config{Mode: mode})
				keep := want == envallow.Listed || want == envallow.Inherited || want == envallow.Cleaned
				got := p.Explain([]string{entry})
				require.Empty(t, cmp.Diff([]envallow.Decision{{Name: row.name, Keep: keep, Class: row.class, Reason: want}}, got, cmp.Comparer(func(a, b envallow.Reason) bool { return a == b })), "mode %v", mode)
				switch out := p.Filter([]string{entry}); {
				case want == envallow.Cleaned:
					require.Equal(t, []string{"PATH=/bin"}, out)
				case keep:
					require.Equal(t, []string{entry}, out)
				default:
					require.Equal(t, []string{}, out)
					if naive(row.name, row.value) {
						fooled++
					}
				}
			}
		})
	}
	require.Greater(t, fooled, 30, "rows that a short list lets through")
}

// TestSecretNames: whole words, and none of their look-alikes.
func TestSecretNames(t *testing.T) {
	secrets := strings.Fields(`TOKEN GH_TOKEN GITHUB_TOKEN MY_PAT DB_PASS DB_PASSWORD DbPassword dbPassword my_app_password FOO_PASSPHRASE FOO_AUTH FOO_APIKEY
		OPENAI_API_KEY OPENAI_API_KEYS API_KEY_2 AWS_ACCESS_KEY_ID AWS_SECRET_ACCESS_KEY AZURE_STORAGE_KEY FAL_KEY KEY SECRET_KEY_BASE MYSQL_PWD DATABASE_URL
		REDIS_URL MONGODB_URI SLACK_WEBHOOK_URL SENTRY_DSN DB_CONNECTION_STRING PG_URL API_TOKENS TF_TOKEN_app_terraform_io ACTIONS_ID_TOKEN_REQUEST_TOKEN
		PASSWORD_FILE SSHPASS SESSION_COOKIE apiKey clientSecret WALLET_MNEMONIC SERVICE_CREDENTIALS SSH_KEYS PASSWORD_MIN_LENGTH_SECRET BW_SESSION PGPASSWORD ldapPasswd ROOT_PW DBPASS keyPass GHTOKEN ACMESECRET MYAPIKEY OTP_SEED AUTH_HEADER TELEGRAM_API_HASH MYPASSPHRASE_1
		encryptionKey signingKey myApiKey buzzApiKey dataApiKey API_0_KEY API_9_KEY`)
	lookalikes := strings.Fields(`MONKEY TURKEY KEYBOARD KEYBOARD_LAYOUT KEYMAP KEYTIMEOUT AUTHOR AUTHORS TOKENIZER TOKENIZERS_PARALLELISM MAX_TOKENS MAX_TOKEN CONTEXT_TOKENS
		TOKEN_LIMIT TOKEN_TTL PASSWORD_MIN_LENGTH SECRET_NAME PUBLIC_KEY SSH_PUBLIC_KEY SORT_KEY CACHE_KEY PRIVATE_NETWORK_NAME BYPASS_CACHE COMPASS PASSENGERS
		SECRETARY CREDITS ACCESSIBILITY AUTH_MODE SERVICE_URL SUPABASE_URL DB_HOST REDIS_HOST FEATURE_KEYS TOKENS PATH_KEYS_COUNT KEYSTONE_REGION NUM_TOKEN API_VERSION
		CLIENT_ID STRING_TABLE URL ACCOUNT_ID TOTAL_TOKEN_COUNT TOKEN_ENDPOINT SECRETS_MANAGER_REGION PASSWORDLESS PASSWDQC BYPASS TRESPASS MULTIPASS RANDOM_SEED SECRETARIAT PUBLIC_0_KEY PUBLIC_9_KEY`)
	p := policy(t, envallow.Config{Mode: envallow.Inherit})
	for _, name := range secrets {
		require.Equal(t, []envallow.Decision{{Name: name, Class: envallow.Secret, Reason: envallow.SecretName}}, p.Explain([]string{name + "=x"}), name)
	}
	fooled := 0
	for _, name := range lookalikes {
		d := p.Explain([]string{name + "=x"})[0]
		require.True(t, d.Keep, "%v", d)
		require.Equal(t, envallow.Unlisted, d.Class, name)
		if !naive(name, "x") {
			fooled++
		}
	}
	require.GreaterOrEqual(t, fooled, 15, "look-alikes that a search for substrings drops")
}

// TestSecretValues: shapes, under a name that says nothing.
func TestSecretValues(t *testing.T) {
	secrets := map[string]string{
		"a password in a URL":                   pieces("postgres:", "//u:", "p@db/x"),
		"one in a later URL":                    pieces("a://b c://d", "://u:", "p@h"),
		"one behind an address":                 pieces("@ postgres:", "//u:", "p@db/x"),
		"one without a scheme":                  pieces("://", "u:", "p@db/x"),
		"one of MySQL without a user":           pieces(":", "hunter22", "@tcp(db)/x"),
		"a pair behind an equals sign":          pieces("=;pass", "word=", "hunter22xyz"),
		"a token for a user in a URL":           pieces("https://", "x:", "y@h/p"),
		"Go's MySQL driver":                     pieces("u:", "p@tcp(db:3306)/x"),
		"a connection string":                   pieces("Server=db;Pass", "word=x;"),
		"libpq's pairs":                         pieces("host=db pass", "word=hunter2"),
		"an Azure account key":                  pieces("AccountName=a;Account", "Key=abc=="),
		"a token in a query":                    pieces("https://h/?access_", "token=abc"),
		"a signed address":                      pieces("https://h/?sv=1&si", "g=abc"),
		"Slack's webhook":                       pieces("https://hooks.", "slack.com/services/T0/B0/x"),
		"Discord's webhook":                     pieces("https://discord.", "com/api/webhooks/1/x"),
		"Discord's old webhook":                 pieces("https://discordapp.", "com/api/webhooks/1/x"),
		"a line of netrc":                       pieces("machine h login u pass", "word x"),
		"PlanetScale":                           pieces("pscale_", "pw_", a20, a20),
		"a PEM":                                 pieces("-----BE", "GIN OPENSSH PRIV", "ATE KEY-----\nb3Bl"),
		"a PEM after text":                      pieces("x -----BE", "GIN PRIV", "ATE KEY-----"),
		"a service account":                     pieces(` {"type":"service_account","private`, `_key":"x"}`),
		"registry logins":                       pieces(`{"au`, `ths":{}}`),
		"a header's value":                      pieces("Bea", "rer abcdefgh"),
		"a header":                              pieces("Authori", "zation: bas", "ic abcdefgh"),
		"a proxy's header":                      pieces("Proxy-Authori", "zation:Bea", "rer abcdefgh"),
		"GitHub":                                pieces("gh", "p_", a20, a20[:12]),
		"a password without a user":             pieces("redis://", ":hunter22", "@h"),
		"GitHub, of digits":                     pieces("gh", "p_", strings.Repeat("09", 20)),
		"GitHub, in an option":                  pieces("--header=X --token=gh", "p_", a20, a20),
		"GitHub, quoted":                        pieces(`"gh`, "o_", a20, a20, `"`),
		"GitHub, far into a value":              pieces(strings.Repeat("word ", 1000), "gh", "p_", a20, a20, " ", strings.Repeat("word ", 10)),
		"AWS":                                   pieces("AK", "IA", strings.Repeat("A2", 8)),
		"OpenAI of old":                         pieces("s", "k-", a20, a20),
		"JSON Web Token":                        pieces("ey", "JhbGciOiJI", ".eyJzdWIi", ".abcdefgh"),
		"OpenAI of old, with one 0":             pieces("s", "k-", strings.Repeat("a", 39), "0"),
		"OpenAI of old, with one 9":             pieces("s", "k-", strings.Repeat("a", 39), "9"),
		"OpenAI of old, with one A":             pieces("s", "k-", strings.Repeat("a", 39), "A"),
		"OpenAI of old, with one Z":             pieces("s", "k-", strings.Repeat("a", 39), "Z"),
		"Telegram, of digits at the edges":      pieces("909090", ":AA", strings.Repeat("a", 33)),
		"Telegram":                              pieces("123456", ":AA", strings.Repeat("a", 33)),
		"Discord":                               pieces("MT", strings.Repeat("a", 22), ".", strings.Repeat("b", 6), ".", strings.Repeat("c", 27)),
		"Discord, long":                         pieces("MT", strings.Repeat("a", 26), ".", strings.Repeat("b", 6), ".", strings.Repeat("c", 38)),
		"Hugging Face":                          pieces("h", "f_", strings.Repeat("aB", 16)),
		"GitLab at its least":                   pieces("glp", "at-", a20[:14]),
		"after leading punctuation":             pieces("..-", "gh", "p_", a20, a20),
		"a token that starts at the 17th byte":  pieces(strings.Repeat(" ", 16), "gh", "p_", a20, a20),
		"a token right after a run of others":   pieces(strings.Repeat("b", 40), " gh", "p_", a20, a20),
		"a token at the end of a list of paths": pieces("/usr/lib:/usr/share:", "gh", "p_", a20, a20),
	}
	plain := map[string]string{
		"a URL with a user":                 "ssh://git@example.com/x",
		"a URL with an empty password":      pieces("redis://", ":", "@h"),
		"an address":                        "ada@example.com",
		"a port and an address":             "see a:b, ada@example.com",
		"a machine":                         "machine learning without a password",
		"Discord's pages":                   "https://discord.com/developers",
		"an @ after the path":               "https://example.com/a:b@c",
		"a query that is empty":             "https://h/?password=&x=1",
		"a limit":                           "password_length=12",
		"colours":                           "di=01;34:ln=01;36",
		"a certificate":                     pieces("-----BE", "GIN CERTIFICATE-----"),
		"a word that begins like a scheme":  "Bearer",
		"two words after it":                "Basic auth is off here",
		"JSON":                              `{"region":"eu"}`,
		"a slug":                            pieces("s", "k-learn-models-of-last-year-and-more"),
		"a hash":                            "356a192b7913b04c54574d18c28d46e6395428ab",
		"GitHub's beginning, short":         pieces("gh", "p_", a20, a20[:11]),
		"GitLab, one short":                 pieces("glp", "at-", a20[:13]),
		"AWS, one long":                     pieces("AK", "IA", strings.Repeat("A2", 8), "B"),
		"AWS, small letter":                 pieces("AK", "IA", strings.Repeat("A2", 7), "aB"),
		"two parts of a JSON Web Token":     pieces("ey", "JhbGciOiJIUzI1NiJ9.eyJzdWIi"),
		"Telegram's tail alone":             pieces("AA", strings.Repeat("a", 33)),
		"Telegram's tail after a word":      pieces("bot-12345", ":AA", strings.Repeat("a", 33)),
		"Telegram's tail, one long":         pieces("123456", ":AA", strings.Repeat("a", 34)),
		"Discord's first part short":        pieces("MT", strings.Repeat("a", 21), ".", strings.Repeat("b", 6), ".", strings.Repeat("c", 28)),
		"Discord's first part long":         pieces("MT", strings.Repeat("a", 27), ".", strings.Repeat("b", 6), ".", strings.Repeat("c", 28)),
		"Discord's second part long":        pieces("MT", strings.Repeat("a", 22), ".", strings.Repeat("b", 7), ".", strings.Repeat("c", 28)),
		"Discord's third part short":        pieces("MT", strings.Repeat("a", 22), ".", strings.Repeat("b", 6), ".", strings.Repeat("c", 26)),
		"a token within a longer word":      pieces("xgh", "p_", a20, a20),
		"punctuation alone":                 strings.Repeat("-", 40),
		"letters of another script":         strings.Repeat("é", 40),
		"a command line":                    "-Xmx2g -XX:+UseG1GC --add-opens=java.base/java.lang=ALL-UNNAMED",
		"an image":                          "registry.example.com/team/service:v1.2.3-build.20260101T000000",
		"an equals sign at the end":         "password=",
		"a header with a short credential":  "Bearer abc",
		"a value that names authorization":  "x: Bearer",
		"a long path":                       "/opt/" + strings.Repeat("directory/", 30),
		"a run of exactly fifteen":          pieces("gh", "p_", strings.Repeat("a", 11)),
		"an address with tcp and no secret": "u@tcp(db)/x",
		"a file's address with an @":        "file:///a:b@c",
		"a word that ends like a password":  pieces("buzzpass", "word=hunter22"),
		"a header with too long a name":     pieces("abcdefghij-authori", "zation: Bea", "rer abcdefgh"),
		"two blanks behind the scheme":      pieces("Bea", "rer  abcdefgh"),
	}
	p := policy(t, envallow.Config{Mode: envallow.Inherit})
	kept := policy(t, envallow.Config{Mode: envallow.Inherit, Keep: []string{"APP_CFG"}})
	for row, value := range secrets {
		d := p.Explain([]string{"APP_CFG=" + value})[0]
		require.Equal(t, envallow.Decision{Name: "APP_CFG", Reason: envallow.SecretValue}, d, row)
		require.NotContains(t, fmt.Sprintf("%+v %v", d, d), value)
		require.Len(t, kept.Filter([]string{"APP_CFG=" + value}), 1, "Keep is the operator's word")
	}
	for row, value := range plain {
		require.Len(t, p.Filter([]string{"APP_CFG=" + value}), 1, row)
	}
}

func TestDuplicates(t *testing.T) {
	p := policy(t, envallow.Config{Mode: envallow.Inherit})
	require.Equal(t, []string{"B=2"}, p.Filter([]string{"A=1", "B=2", "A=3"}), "values that disagree")
	require.Equal(t, []string{"A=1", "B=2"}, p.Filter([]string{"A=1", "B=2", "A=1"}), "twins")
	require.Equal(t, []string{}, p.Filter([]string{"TERM=xterm", "TERM=/tmp/x"}), "the second is refused by itself")
	require.Equal(t, []string{}, p.Filter([]string{"A=1", "A=2", "A=1"}))
	require.Equal(t, []string{}, p.Filter([]string{"A=1", "A=() { :; }"}), "the second is refused by itself, and speaks against the first")
	require.Equal(t, []string{"B=2"}, p.Filter([]string{"BASH_FUNC_a%%=() { :; }", "B=2", "BASH_FUNC_b%%=() { :; }"}))
	require.Equal(t, []string{"A=1", "a=2"}, p.Filter([]string{"A=1", "a=2"}), "two variables, but on Windows")
	require.Equal(t, []string{}, p.Filter([]string{"PATH=/bin", "PATH=/bin:."}), "clean, they would be equal")
	ds := p.Explain([]string{"A=1", "A=2", "LD_PRELOAD=1", "LD_PRELOAD=2", "B=1", "B=1"})
	var reasons []string
	for _, d := range ds {
		reasons = append(reasons, fmt.Sprint(d.Keep, " ", d.Reason.String()))
	}
	require.Equal(t, []string{"false conflict", "false conflict", "false hijack", "false hijack", "true inherited", "true inherited"}, reasons)

	for _, n := range []int{511, 512, 513, 2000} { // the table on the stack ends at 512 entries
		var many []string
		for i := range n - 2 {
			many = append(many, fmt.Sprintf("V%d=%d", i, i))
		}
		require.Equal(t, many[1:], p.Filter(append(many, "V0=x", "V1=1")), "%d entries", n)
	}
}

func TestConfig(t *testing.T) {
	in := []string{"A=1", "APP_MODE=2", "LD_PRELOAD=3", "app_token=4", "APP_TOKEN=5", "LANG=C", "LC_TIME=C", "a=6"}
	rows := []struct {
		row  string
		c    envallow.Config
		want []string
	}{
		{"nothing", envallow.Config{}, []string{"LANG=C", "LC_TIME=C"}},
		{"an exact name, whatever its class", envallow.Config{Keep: []string{"LD_PRELOAD", "APP_TOKEN"}}, []string{"LD_PRELOAD=3", "APP_TOKEN=5", "LANG=C", "LC_TIME=C"}},
		{"case counts in Keep", envallow.Config{Keep: []string{"a"}}, []string{"LANG=C", "LC_TIME=C", "a=6"}},
		{"two spellings", envallow.Config{Keep: []string{"a", "A"}}, []string{"A=1", "LANG=C", "LC_TIME=C", "a=6"}},
		{"a prefix keeps no credential", envallow.Config{KeepPrefix: []string{"APP_"}}, []string{"APP_MODE=2", "LANG=C", "LC_TIME=C"}},
		{"case counts in KeepPrefix", envallow.Config{KeepPrefix: []string{"app_"}}, []string{"LANG=C", "LC_TIME=C"}},
		{"Drop in any case", envallow.Config{Mode: envallow.Inherit, Drop: []string{"a"}}, []string{"APP_MODE=2", "LANG=C", "LC_TIME=C"}},
		{"DropPrefix in any case", envallow.Config{DropPrefix: []string{"lc_"}}, []string{"LANG=C"}},
		{"a name that is no more than a DropPrefix", envallow.Config{DropPrefix: []string{"lc_time"}}, []string{"LANG=C"}},
		{"Drop within a KeepPrefix", envallow.Config{KeepPrefix: []string{"APP_"}, Drop: []string{"APP_MODE"}}, []string{"LANG=C", "LC_TIME=C"}},
		{"a check", envallow.Config{Check: map[string]func(string) error{"lang": func(v string) error { return errors.New(v) }}}, []string{"LC_TIME=C"}},
		{"a check that is content", envallow.Config{Check: map[string]func(string) error{"LANG": func(v string) error {
			if v != "C" {
				return errors.New("not C")
			}
			return nil
		}}}, []string{"LANG=C", "LC_TIME=C"}},
		{"a hook for secrets sees what Keep names too", envallow.Config{Keep: []string{"A"}, Secret: func(name, value string) bool { return name == "A" && value == "1" }}, []string{"LANG=C", "LC_TIME=C"}},
	}
	for _, row := range rows {
		t.Run(row.row, func(t *testing.T) {
			require.Equal(t, row.want, policy(t, row.c).Filter(in))
		})
	}

	require.Equal(t, []string{}, policy(t, envallow.Config{Mode: envallow.Inherit, DropPrefix: []string{"acme"}}).Filter([]string{"acme=1", "Acme=1", "ACME=1"}))

	ok := func(string) error { return nil }
	for field, c := range map[string]envallow.Config{
		"Mode":                    {Mode: 2},
		"Keep":                    {Keep: []string{""}},
		"Keep with =":             {Keep: []string{"A=B"}},
		"Keep with NUL":           {Keep: []string{"A\x00"}},
		"KeepPrefix":              {KeepPrefix: []string{""}},
		"Drop":                    {Drop: []string{"="}},
		"DropPrefix":              {DropPrefix: []string{""}},
		"Check":                   {Check: map[string]func(string) error{"": ok}},
		"Check that is nil":       {Check: map[string]func(string) error{"A": nil}},
		"Check in two spellings":  {Check: map[string]func(string) error{"A": ok, "a": ok}},
		"Keep that Drop undoes":   {Keep: []string{"A"}, Drop: []string{"a"}},
		"Keep under DropPrefix":   {Keep: []string{"AB"}, DropPrefix: []string{"a"}},
		"Keep of Harden":          {Keep: []string{"PAGER"}, Harden: true},
		"KeepPrefix that hijacks": {KeepPrefix: []string{"LD_"}},
		"KeepPrefix of git":       {KeepPrefix: []string{"GIT_"}},
		"KeepPrefix dropped":      {KeepPrefix: []string{"APP_"}, DropPrefix: []string{"APP_"}},
	} {
		p, err := envallow.New(c)
		require.Nil(t, p, field)
		require.Error(t, err, field)
		require.True(t, strings.HasPrefix(err.Error(), "envallow: Config."+strings.Fields(field)[0]+":"), "%s: %v", field, err)
	}
	clean := envallow.Config{Check: map[string]func(string) error{"PATH": func(v string) error {
		if v != "/bin" {
			return errors.New(v)
		}
		return nil
	}}}
	require.Equal(t, []string{"PATH=/bin"}, policy(t, clean).Filter([]string{"PATH=.:/bin"}), "Check sees what is passed on")
	_, both := policy(t, clean).Overlay(nil, map[string]string{"LD_PRELOAD": "x", "PATH": "/x"})
	require.ErrorIs(t, both, envallow.Hijack)
	require.ErrorIs(t, both, envallow.Protected, "the second too")
	_, err := envallow.New(envallow.Config{Mode: 9, Keep: []string{""}, Drop: []string{""}})
	require.Len(t, err.(interface{ Unwrap() []error }).Unwrap(), 3, "all of them")

	var c envallow.Config
	require.NoError(t, json.Unmarshal([]byte(`{"Mode":"inherit","Keep":["A"],"Harden":true}`), &c))
	require.Equal(t, envallow.Config{Mode: envallow.Inherit, Keep: []string{"A"}, Harden: true}, c)
	_, err = json.Marshal(envallow.Config{Check: map[string]func(string) error{"A": ok}})
	require.NoError(t, err)
}

func TestHarden(t *testing.T) {
	p := policy(t, envallow.Config{Harden: true})
	out := p.Filter([]string{"LANG=C", "PAGER=evil", "GIT_TERMINAL_PROMPT=1"})
	require.Equal(t, []string{
		"LANG=C", "GIT_TERMINAL_PROMPT=0", "GIT_CONFIG_NOSYSTEM=1", "GIT_PROTOCOL_FROM_USER=0", "GIT_CONFIG_COUNT=1", "GIT_CONFIG_KEY_0=core.fsmonitor",
		"GIT_CONFIG_VALUE_0=false", "GIT_PAGER=cat", "PAGER=cat", "MANPAGER=cat", "GIT_EDITOR=:", "LESSSECURE=1", "LESSHISTFILE=-", "SSH_ASKPASS_REQUIRE=never",
	}, out)
	require.Equal(t, envallow.Decision{Name: "GIT_TERMINAL_PROMPT", Reason: envallow.Hardened}, p.Explain([]string{"GIT_TERMINAL_PROMPT=1"})[0])
	_, err := p.Overlay(nil, map[string]string{"LESSSECURE": "0"})
	require.ErrorIs(t, err, envallow.Hardened)
	require.NotContains(t, policy(t, envallow.Config{Harden: true, Drop: []string{"pager"}, DropPrefix: []string{"MAN"}}).Filter(nil), "PAGER=cat")
	require.Len(t, policy(t, envallow.Config{Harden: true, Drop: []string{"pager"}, DropPrefix: []string{"man"}}).Filter(nil), 11)
}

func TestOverlay(t *testing.T) {
	base := []string{"HOME=/h", "FOO=old", "LD_PRELOAD=x"}
	p := policy(t, envallow.Config{Keep: []string{"FOO", "LD_AUDIT"}, Drop: []string{"BANNED"}, DropPrefix: []string{"NO_SUCH_"},
		Check: map[string]func(string) error{"COLOUR": func(v string) error {
			if v != "red" {
				return errors.New(v)
			}
			return nil
		}}})
	out, err := p.Overlay(base, map[string]string{"FOO": "new", "COLOUR": "red", "API_TOKEN": "the call's own", "LANG": "C"})
	require.NoError(t, err)
	require.Equal(t, []string{"HOME=/h", "API_TOKEN=the call's own", "COLOUR=red", "FOO=new", "LANG=C"}, out)
	require.Equal(t, []string{"HOME=/h", "FOO=old", "LD_PRELOAD=x"}, base)
	out, err = p.Overlay(nil, nil)
	require.NoError(t, err)
	require.Equal(t, []string{}, out)

	const evil = "evil-marker"
	for _, row := range []struct {
		name, value string
		want        envallow.Reason
	}{
		{"LD_AUDIT", evil, envallow.Hijack}, {"ld_preload", evil, envallow.Hijack}, {"ACME_PAGER", evil, envallow.Hijack}, {"SHELL", evil, envallow.Hijack},
		{"PATH", "/usr/bin:" + evil, envallow.Protected}, {"Path", "/bin", envallow.Protected}, {"HOME", "/" + evil, envallow.Protected}, {"PWD", "/x", envallow.Protected},
		{"TMPDIR", "/x", envallow.Protected}, {"TMP", "/x", envallow.Protected}, {"TEMP", "/x", envallow.Protected},
		{"XDG_CONFIG_HOME", "/" + evil, envallow.Protected}, {"https_proxy", evil, envallow.Protected}, {"ACME_HOME", "/" + evil, envallow.Protected}, {"VAULT_ADDR", evil, envallow.Protected}, {"SystemRoot", evil, envallow.Protected},
		{"BANNED", evil, envallow.Dropped}, {"no_such_thing", evil, envallow.Dropped}, {"COLOUR", evil, envallow.CheckFailed},
		{"TERM", "/" + evil, envallow.UnsafeValue}, {"TZ", "/" + evil, envallow.UnsafeValue},
		{"", evil, envallow.Malformed}, {"A=B", evil, envallow.Malformed}, {"=C:", evil, envallow.Malformed}, {"A B", evil, envallow.Malformed},
		{"A", evil + "\x00", envallow.Malformed}, {"A", "() { " + evil + "; }", envallow.ShellFunction}, {"BASH_FUNC_ls%%", evil, envallow.ShellFunction},
		{"LD_PRELOAD=" + evil, "x", envallow.Malformed},
	} {
		for _, mode := range []envallow.Mode{envallow.Strict, envallow.Inherit} {
			if mode == envallow.Inherit {
				p = policy(t, envallow.Config{Mode: mode, Drop: []string{"BANNED"}, DropPrefix: []string{"no_such_"}, Check: map[string]func(string) error{"colour": func(v string) error { return errors.New(v) }}})
			}
			out, err := p.Overlay(base, map[string]string{row.name: row.value, "FOO": "new"})
			require.Equal(t, []string{}, out, row.name)
			require.ErrorIs(t, err, row.want, row.name)
			require.NotContains(t, err.Error(), evil)
			require.True(t, strings.HasPrefix(err.Error(), "envallow: "))
			var refusal *envallow.Error
			require.ErrorAs(t, err, &refusal)
			require.Len(t, refusal.Refused, 1)
			require.Equal(t, row.want, refusal.Reason)
			require.NotContains(t, refusal.Refused[0].Name, "=")
		}
	}

	many := map[string]string{strings.Repeat("LD_", 1000): "x"}
	for i := range 30 {
		many[fmt.Sprintf("LD_%02d", i)] = "x"
	}
	_, err = p.Overlay(nil, many)
	var refusal *envallow.Error
	require.ErrorAs(t, err, &refusal)
	require.Len(t, refusal.Refused, 31)
	require.Less(t, len(err.Error()), 2000, "a call may not fill the log")
	require.Contains(t, err.Error(), "and 21 more")
}

func TestApply(t *testing.T) {
	p := policy(t, envallow.Config{})
	open, none := t.TempDir(), filepath.Join(t.TempDir(), "none")
	require.NoError(t, os.Chmod(open, 0o777))

	cmd := exec.Command("true")
	cmd.Env = []string{"HOME=/h", "LD_PRELOAD=x", "PATH=.:" + open + ":" + none}
	require.NoError(t, p.Apply(cmd))
	require.Equal(t, []string{"HOME=/h", "PATH=" + none}, cmd.Env)
	require.NoError(t, cmd.Err)

	cmd = exec.Command("true")
	cmd.Env = []string{"PATH=" + open, "LANG=C"}
	require.NoError(t, p.Apply(cmd))
	require.Equal(t, []string{"LANG=C"}, cmd.Env, "unset, never empty")

	t.Setenv("NODE_OPTIONS", "--require x")
	t.Setenv("LANG", "C")
	cmd = exec.Command("env")
	require.NoError(t, p.Apply(cmd))
	require.Contains(t, cmd.Env, "LANG=C", "nil stands for the process's own")
	out, err := cmd.Output()
	require.NoError(t, err)
	require.Contains(t, string(out), "LANG=C\n")
	require.NotContains(t, string(out), "NODE_OPTIONS")

	for name, broken := range map[string]*envallow.Policy{"nil": nil, "zero": {}} {
		cmd = exec.Command("env")
		require.ErrorIs(t, broken.Apply(cmd), envallow.NotConfigured, name)
		require.Equal(t, []string{}, cmd.Env, name)
		require.ErrorIs(t, cmd.Start(), envallow.NotConfigured, "the caller dropped the error")
	}

	cmd = exec.Command("no-such-program")
	before := cmd.Err
	require.Error(t, before)
	require.Equal(t, before, p.Apply(cmd))
	require.Equal(t, before, cmd.Err)
	require.NotNil(t, cmd.Env)

	here := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(here, "planted"), []byte("#!/bin/sh\n"), 0o755))
	t.Chdir(here)
	t.Setenv("PATH", ".")
	cmd = exec.Command("planted")
	require.ErrorIs(t, p.Apply(cmd), exec.ErrDot)
	require.ErrorIs(t, cmd.Start(), exec.ErrDot, "a program found in the working directory stays refused")
	require.NotNil(t, cmd.Env)

	require.ErrorIs(t, p.Apply(nil), envallow.NoCommand)
	cmd = exec.Command("/bin/true")
	require.NoError(t, cmd.Run())
	require.ErrorIs(t, p.Apply(cmd), envallow.NoCommand, "it runs with what it has")
}

func TestNoPolicy(t *testing.T) {
	for name, p := range map[string]*envallow.Policy{"nil": nil, "zero": {}} {
		require.Equal(t, []string{}, p.Filter([]string{"HOME=/h"}), name)
		require.Equal(t, []envallow.Decision{{Name: "HOME", Reason: envallow.NotConfigured}, {Reason: envallow.NotConfigured}}, p.Explain([]string{"HOME=/h", "x"}), name)
		out, err := p.Overlay([]string{"HOME=/h"}, nil)
		require.Equal(t, []string{}, out, name)
		require.ErrorIs(t, err, envallow.NotConfigured, name)
		require.Equal(t, envallow.NotConfigured.Error(), err.Error())
	}
	p := policy(t, envallow.Config{})
	require.Equal(t, []string{}, p.Filter(nil))
	require.Equal(t, []envallow.Decision{}, p.Explain(nil))
	require.Equal(t, []string{}, p.Filter([]string{"", "NOEQUALS", "=x", "==", "=C:=/x"}))
	require.Equal(t, envallow.Decision{Reason: envallow.Malformed}, p.Explain([]string{"a secret without a name"})[0])
}

// TestWindows: what names mean there, on any system.
func TestWindows(t *testing.T) {
	p, err := envallow.NewWindows(envallow.Config{Keep: []string{"MySetting"}, KeepPrefix: []string{"App_"}})
	require.NoError(t, err)
	in := []string{"=C:=C:\\dir", "=z:=x", "SystemRoot=C:\\Windows", "ComSpec=C:\\Windows\\system32\\cmd.exe", "PATHEXT=.EXE", "ProgramFiles(x86)=C:\\P", "mysetting=1", "APP_MODE=2", "lang=C", "ld_preload=x", "Other=1"}
	require.Equal(t, []string{"=C:=C:\\dir", "=z:=x", "SystemRoot=C:\\Windows", "ComSpec=C:\\Windows\\system32\\cmd.exe", "PATHEXT=.EXE", "ProgramFiles(x86)=C:\\P", "mysetting=1", "APP_MODE=2", "lang=C"}, p.Filter(in))
	require.Equal(t, "=C:", p.Explain(in)[0].Name)
	require.Equal(t, []string{"=A:=A:\\x", "=Z:=Z:\\x", "=y:=Y:\\x"}, p.Filter([]string{"=A:=A:\\x", "=Z:=Z:\\x", "=y:=Y:\\x", "=@:=x", "=[:=x"}))
	longest := "=C:=" + strings.Repeat("x", 128<<10-len("=C:=")-1)
	require.Equal(t, []string{longest}, p.Filter([]string{longest}))
	for _, entry := range []string{longest + "x", "=C:=\x00", "NODE_OPTIONS=--require x", "node_options=x", "GITHUB_TOKEN=x"} {
		require.Equal(t, []string{}, p.Filter([]string{entry}), "malformed, or not what Keep names")
	}
	require.Equal(t, []string{}, p.Filter([]string{"=C:=a\x00b", "=C:=" + strings.Repeat("x", 128<<10), "=1:=x", "=C=x", "=C:", "(A)=x"}))
	require.Equal(t, []string{}, p.Filter([]string{"Lang=C", "LANG=D"}), "one variable")
	require.Equal(t, []string{"Lang=C"}, p.Filter([]string{"Lang=C", "LANG=C"}))
	var many []string
	for i := range 600 {
		many = append(many, fmt.Sprintf("APP_%d=1", i))
	}
	require.Equal(t, many[1:], p.Filter(append(many, "app_0=2")))
	for _, name := range []string{"ComSpec", "PATHEXT", "systemroot", "=C:", "USERPROFILE"} {
		_, err = p.Overlay(nil, map[string]string{name: "x"})
		require.Error(t, err, name)
	}
	out, err := p.Overlay([]string{"Lang=C"}, map[string]string{"LANG": "D"})
	require.NoError(t, err)
	require.Equal(t, []string{"LANG=D"}, out)
	_, err = p.Overlay(nil, map[string]string{"Aa": "1", "aA": "2"})
	require.ErrorIs(t, err, envallow.Conflict)
	_, err = p.Overlay(nil, map[string]string{"A": "1", "a": "2"})
	require.ErrorIs(t, err, envallow.Conflict)
}

func TestCleanPath(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("the modes that this is about are not there")
	}
	root := t.TempDir()
	mkdir := func(mode os.FileMode, parts ...string) string {
		dir := filepath.Join(append([]string{root}, parts...)...)
		require.NoError(t, os.Mkdir(dir, 0o755))
		require.NoError(t, os.Chmod(dir, mode))
		return dir
	}
	private, open, sticky := mkdir(0o755, "private"), mkdir(0o777, "open"), mkdir(0o777|os.ModeSticky, "sticky")
	inOpen, inSticky := mkdir(0o755, "open", "bin"), mkdir(0o755, "sticky", "bin")
	link := filepath.Join(root, "link")
	require.NoError(t, os.Symlink(open, link))
	to := func(target, name string) string {
		link := filepath.Join(root, name)
		require.NoError(t, os.Symlink(target, link))
		return link
	}
	toInOpen, fromOpen := to(inOpen, "private/a"), to("/usr/bin", "open/b")
	toNone, toOwn := to(open+"/none", "private/c"), to(private+"/none", "private/d")
	relative, chain, loop := to("../open", "private/e"), to(fromOpen, "private/f"), to("g", "private/g")
	toCwd := to("/proc/self/cwd", "private/h")
	file := filepath.Join(root, "file")
	require.NoError(t, os.WriteFile(file, nil, 0o644))
	for _, row := range []struct {
		row, in, want string
		dropped       []string
	}{
		{"clean", "/usr/bin:/bin", "/usr/bin:/bin", nil},
		{"nothing", "", "", []string{""}},
		{"only the working directory", ".::..", "", []string{".", "", ".."}},
		{"relative, empty, repeated", "bin:/bin::/bin:~/x", "/bin", []string{"bin", "", "/bin", "~/x"}},
		{"a folder of one's own", private, private, nil},
		{"a folder that everybody may write", open + ":/bin", "/bin", []string{open}},
		{"a sticky one too", sticky, "", []string{sticky}},
		{"a link to one", link, "", []string{link}},
		{"a folder in one can be put aside", inOpen, "", []string{inOpen}},
		{"a folder in a sticky one can't", inSticky, inSticky, nil},
		{"a missing folder", private + "/none", private + "/none", nil},
		{"two missing folders", private + "/none/none", private + "/none/none", nil},
		{"a missing folder that everybody could make", sticky + "/none/none", "", []string{sticky + "/none/none"}},
		{"a link to a folder in an open one", toInOpen, "", []string{toInOpen}},
		{"a link that stands in an open one", fromOpen, "", []string{fromOpen}},
		{"a link to what everybody could make", toNone, "", []string{toNone}},
		{"a link to what its owner could make", toOwn, toOwn, nil},
		{"a relative link", relative, "", []string{relative}},
		{"a chain of links through an open one", chain, "", []string{chain}},
		{"a loop of links", loop, "", []string{loop}},
		{"out of an open folder", open + "/../private", "", []string{open + "/../private"}},
		{"dots and slashes", "/./" + private + "//.", "/./" + private + "//.", nil},
		{"the working directory by another name", "/proc/self/cwd:/proc", "", []string{"/proc/self/cwd", "/proc"}},
		{"a link to it", toCwd, "", []string{toCwd}},
		{"more steps than any path has", strings.Repeat("/../.", 300) + private, "", []string{strings.Repeat("/../.", 300) + private}},
		{"a folder below a file", file + "/x", file + "/x", nil},
		{"NUL", "/a\x00b", "", []string{"/a\x00b"}},
	} {
		clean, dropped := envallow.CleanPath(row.in)
		require.Equal(t, row.want, clean, row.row)
		require.Equal(t, row.dropped, dropped, row.row)
	}

	for _, n := range []int{63, 64, 65, 66, 5000} { // 64 elements are kept track of without a map
		var elements []string
		for i := range n {
			elements = append(elements, fmt.Sprintf("/%d", i))
		}
		path := strings.Join(elements, ":")
		clean, dropped := envallow.CleanPath(path + ":/0:" + elements[n-1])
		require.Equal(t, path, clean)
		require.Equal(t, []string{"/0", elements[n-1]}, dropped, "%d elements", n)
	}
}

func TestEnums(t *testing.T) {
	seen := map[string]bool{}
	for i := range 256 {
		r, c, m := envallow.Reason(i), envallow.Class(i), envallow.Mode(i)
		for _, e := range []struct {
			valid bool
			text  func() ([]byte, error)
			back  func([]byte) error
			name  string
		}{
			{i >= 1 && i <= int(envallow.NoCommand), r.MarshalText, func(b []byte) error {
				var back envallow.Reason
				err := back.UnmarshalText(b)
				require.Equal(t, r, back)
				return err
			}, r.String()},
			{i <= int(envallow.Service), c.MarshalText, func(b []byte) error {
				back := envallow.Class(99)
				err := back.UnmarshalText(b)
				require.Equal(t, c, back)
				return err
			}, c.String()},
			{i <= int(envallow.Inherit), m.MarshalText, func(b []byte) error {
				back := envallow.Mode(99)
				err := back.UnmarshalText(b)
				require.Equal(t, m, back)
				return err
			}, m.String()},
		} {
			text, err := e.text()
			require.NotEmpty(t, e.name)
			if !e.valid {
				require.Error(t, err)
				require.Contains(t, e.name, fmt.Sprint("(", i, ")"))
				continue
			}
			require.NoError(t, err)
			require.Equal(t, e.name, string(text))
			require.NoError(t, e.back(text))
		}
		require.True(t, strings.HasPrefix(r.Error(), "envallow: "))
		if i >= 1 && i <= int(envallow.NoCommand) {
			require.False(t, seen[r.Error()], "two Reasons that say the same")
			seen[r.Error()] = true
		}
	}
	for _, text := range []string{"", "Hijack", "no-such", "Reason(0)"} {
		require.Error(t, new(envallow.Reason).UnmarshalText([]byte(text)))
		require.Error(t, new(envallow.Class).UnmarshalText([]byte(text)))
		require.Error(t, new(envallow.Mode).UnmarshalText([]byte(text)))
	}
	require.Equal(t, `drop "A\nB" (unlisted, malformed)`, envallow.Decision{Name: "A\nB", Reason: envallow.Malformed}.String())
	require.Equal(t, `keep "`+strings.Repeat("A", 64)+`" (unlisted, kept)`, envallow.Decision{Name: strings.Repeat("A", 64), Keep: true, Reason: envallow.Kept}.String())
	require.Equal(t, `keep "`+strings.Repeat("A", 64)+`"… (unlisted, kept)`, envallow.Decision{Name: strings.Repeat("A", 65), Keep: true, Reason: envallow.Kept}.String())
}

// TestTable holds the table against its own rules: what a row says is what Explain says.
func TestTable(t *testing.T) {
	p := policy(t, envallow.Config{Mode: envallow.Inherit})
	names, harmless, claimed := 0, 0, map[string]bool{}
	for _, row := range envallow.Table() {
		require.NotEmpty(t, row.Program)
		require.NotEmpty(t, row.Why)
		require.NotEmpty(t, row.Source)
		for name := range strings.FieldsSeq(row.Names) {
			require.Equal(t, strings.ToUpper(name), name)
			require.False(t, claimed[name], "%s is there twice", name)
			claimed[name] = true
			class := row.Class
			if bare, ok := strings.CutPrefix(name, "!"); ok {
				name, class = bare, envallow.Unlisted
				harmless++
			}
			require.NotContains(t, strings.Trim(name, "*"), "*")
			if strings.ContainsAny(name, "()") {
				continue // Windows alone
			}
			if family, ok := strings.CutSuffix(name, "*"); ok {
				require.True(t, strings.HasSuffix(family, "_"), "%s: a family ends in an underscore", name)
				name = family + "ACME"
			} else if ending, ok := strings.CutPrefix(name, "*"); ok {
				require.True(t, strings.HasPrefix(ending, "_"), "%s: an ending begins with an underscore", name)
				name = "ACME" + ending
			}
			if d := p.Explain([]string{name + "=x"})[0]; class != d.Class && d.Class != envallow.Secret {
				t.Errorf("%s is of class %v, want %v", name, d.Class, class)
			} else if class >= envallow.Loader && d.Keep {
				t.Errorf("%s is kept", name)
			}
			names++
		}
	}
	require.Greater(t, names, 1000)
	require.Greater(t, harmless, 60)
}

func TestConcurrent(t *testing.T) {
	p := policy(t, envallow.Config{Harden: true})
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for range 100 {
				require.Len(t, p.Filter([]string{"HOME=/h", "LD_PRELOAD=x", "PATH=.:/bin"}), 15)
				_, _ = p.Overlay(nil, map[string]string{"A": "1"})
			}
		})
	}
	all.Wait()
}

func TestAllocations(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector allocates")
	}
	var env []string
	for i := range 90 {
		env = append(env, fmt.Sprintf("BUILD_PARAMETER_%d=https://example.com/a?b=c&d=%d", i, i))
	}
	env = append(env, "HOME=/h", "PATH=/usr/local/bin:/usr/bin:/bin", "TZ=Europe/Berlin", "LC_ALL=C", "LD_PRELOAD=x", "GH_TOKEN=x", "b=2", "TERM=xterm", "DbPassword=x", "a=1")
	for _, mode := range []envallow.Mode{envallow.Strict, envallow.Inherit} {
		p := policy(t, envallow.Config{Mode: mode, Keep: []string{"a"}, KeepPrefix: []string{"APP_"}, Drop: []string{"b"}, Harden: true})
		require.Equal(t, 1.0, testing.AllocsPerRun(100, func() { p.Filter(env) }), "mode %v", mode)
	}
}
