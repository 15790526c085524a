// SPDX-License-Identifier: Apache-2.0

package envallow

import (
	"errors"
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
)

// naive is what people write: for each variable a map, a loop over prefixes, a loop over endings, the words in a map,
// and a loop over the beginnings of tokens. It has the lists of the package, which it reads from the source.
type naive struct {
	exact    map[string]string // name -> class
	prefixes []affix
	endings  []affix
	words    map[string]bool
	tokens   []string
}

type affix struct{ text, class string }

func newNaive() (*naive, error) {
	n := &naive{exact: map[string]string{}, words: map[string]bool{}}
	_, here, _, _ := runtime.Caller(0)
	dir := filepath.Join(filepath.Dir(here), "..", "..", "envallow")
	err := rows(filepath.Join(dir, "table.go"), "table", func(class string, texts []string) {
		for name := range strings.FieldsSeq(texts[0]) {
			class := class
			if harmless, ok := strings.CutPrefix(name, "!"); ok {
				name, class = harmless, "Unlisted"
			}
			if prefix, ok := strings.CutSuffix(name, "*"); ok {
				n.prefixes = append(n.prefixes, affix{prefix, class})
			} else if ending, ok := strings.CutPrefix(name, "*"); ok {
				n.endings = append(n.endings, affix{ending, class})
			} else {
				n.exact[name] = class
			}
		}
	})
	if err != nil {
		return nil, err
	}
	err = rows(filepath.Join(dir, "table.go"), "words", func(role string, texts []string) {
		if role == "secretWord" || role == "secretLast" {
			for w := range strings.FieldsSeq(texts[0]) {
				n.words[w] = true
			}
		}
	})
	if err != nil {
		return nil, err
	}
	err = rows(filepath.Join(dir, "secret.go"), "tokens", func(_ string, texts []string) {
		for prefix := range strings.FieldsSeq(texts[0]) {
			if len(prefix) > 2 {
				n.tokens = append(n.tokens, prefix)
			}
		}
	})
	if err == nil && (len(n.exact) < 500 || len(n.prefixes) < 100 || len(n.endings) < 40 || len(n.words) < 50 || len(n.tokens) < 80) {
		err = errors.New("the lists of the package were not found in its source")
	}
	return n, err
}

// rows reads the rows of a table in Go source: the identifier that comes first, if one does, and the strings.
func rows(file, table string, row func(first string, texts []string)) error {
	tree, err := parser.ParseFile(token.NewFileSet(), file, nil, 0)
	if err != nil {
		return err
	}
	ast.Inspect(tree, func(node ast.Node) bool {
		spec, ok := node.(*ast.ValueSpec)
		if !ok || spec.Names[0].Name != table {
			return true
		}
		for _, element := range spec.Values[0].(*ast.CompositeLit).Elts {
			first, texts := "", []string(nil)
			for _, field := range element.(*ast.CompositeLit).Elts {
				switch f := field.(type) {
				case *ast.Ident:
					first = f.Name
				case *ast.BasicLit:
					if text, err := strconv.Unquote(f.Value); err == nil && f.Kind == token.STRING {
						texts = append(texts, text)
					}
				}
			}
			row(first, texts)
		}
		return false
	})
	return nil
}

func (n *naive) filter(environ []string, strict bool) []string {
	out := []string{}
	seen := map[string]string{}
	for _, entry := range environ {
		name, value, ok := strings.Cut(entry, "=")
		if other, twice := seen[name]; twice && other != value {
			continue
		}
		seen[name] = value
		if ok && n.keep(strings.ToUpper(name), value, strict) {
			out = append(out, entry)
		}
	}
	return out
}

func (n *naive) keep(name, value string, strict bool) bool {
	class, known := n.exact[name]
	if !known {
		longest := ""
		for _, p := range n.prefixes {
			if len(p.text) > len(longest) && strings.HasPrefix(name, p.text) {
				longest, class = p.text, p.class
			}
		}
		for _, e := range n.endings {
			if (class == "" || class == "Unlisted" || class == "Location") && strings.HasSuffix(name, e.text) {
				class = e.class
			}
		}
	}
	switch class {
	case "Session":
	case "", "Unlisted", "Location":
		if strict {
			return false
		}
	default:
		return false
	}
	if !known {
		for _, word := range strings.Split(name, "_") {
			if n.words[word] {
				return false
			}
		}
		if strings.HasPrefix(name, "DATABASE") && strings.HasSuffix(name, "URL") {
			return false
		}
	}
	for _, prefix := range n.tokens {
		if i := strings.Index(value, prefix); i == 0 || i > 0 && value[i-1] == ' ' {
			return false
		}
	}
	if i := strings.Index(value, "://"); i >= 0 && strings.Contains(value[i:], "@") {
		return false
	}
	return !strings.Contains(value, "-----BEGIN") && !strings.Contains(value, "\x00") && !strings.HasPrefix(value, "()")
}
