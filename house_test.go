// SPDX-License-Identifier: Apache-2.0

package merlon_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"go/types"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

const module = "github.com/merlon-go/merlon"

// rooms is the import policy: every package of the house, and what its own code may import besides the standard
// library. A package that another one could use is handed in as an interface or a func instead. Do not add to a line
// to make a build pass: each entry is one more thing that somebody who copies the folder must copy, read and trust.
const rooms = `
secretequal:
envallow:
hostvalidate:
noncecache:
authlimit:
authaudit:          privatefile
logscrub:           fieldredact
fieldredact:
pathboundary:       golang.org/x/sys/unix
configinclude:      pathboundary
privatefile:        golang.org/x/sys/...
credcipher:
masterkey:          privatefile golang.org/x/crypto/...
masterkey/keychain: masterkey github.com/zalando/go-keyring github.com/godbus/dbus/v5 github.com/danieljoos/wincred
devicekey:          privatefile golang.org/x/crypto/...
`

// requirements are the modules that the root go.mod may require itself, so that a user of one package inherits no more.
var requirements = []string{
	"golang.org/x/crypto", "golang.org/x/sys",
	"github.com/zalando/go-keyring", "github.com/godbus/dbus/v5", "github.com/danieljoos/wincred",
	"github.com/stretchr/testify", "github.com/google/go-cmp",
}

// systems are the targets on which every package must build, so also those whose imports are judged.
var systems = []string{"linux", "darwin", "windows", "freebsd"}

// TestHouse holds every package against the rules of the house. What it reports is a place and the rule broken there.
func TestHouse(t *testing.T) {
	allowed := importPolicy(t)
	places := map[string][]string{}
	for _, system := range systems {
		for _, pkg := range list(t, system) {
			room := strings.TrimPrefix(pkg.ImportPath, module+"/")
			places[system] = append(places[system], room)
			patterns, known := allowed[room]
			if !known {
				t.Errorf("%s: has no line in the import policy", pkg.Dir)
			}
			fset := token.NewFileSet()
			built := parse(t, fset, pkg.Dir, pkg.GoFiles)
			for _, fault := range judge(fset, patterns, built, parse(t, fset, pkg.Dir, pkg.left())) {
				t.Errorf("%s (%s): %s", fset.Position(fault.pos), system, fault.rule)
			}
			if !hasExample(parse(t, fset, pkg.Dir, slices.Concat(pkg.TestGoFiles, pkg.XTestGoFiles))) {
				t.Errorf("%s (%s): has no Example", pkg.Dir, system)
			}
		}
		require.Equal(t, places[systems[0]], places[system], "a package is on every system (%s)", system)
	}
}

// TestHouseRulesBite shows for each rule a source that breaks it, so that none is a rule in name only.
func TestHouseRulesBite(t *testing.T) {
	const doc = "// Package p stops it (finding HIGH-01, CWE-208).\n//\n// # Use\n//\n//\tp.Do()\n//\n// # Guarantees\n//\n// # Not guaranteed\n//\n// # Cost\n"
	rows := []struct{ name, source, rule string }{
		{"a sound package", doc + "package p\nvar ErrX = errors.New(\"p: x\")\nvar table = [2]int{1, 2}\nfunc f() int { x := table[0]; x++; return x }", ""},
		{"a permitted import", doc + "package p\nimport _ \"golang.org/x/sys/unix\"", ""},
		{"an import that is not in the policy", doc + "package p\nimport _ \"github.com/stretchr/testify/require\"", ruleImport},
		{"a local variable that hides a package variable", doc + "package p\nvar table int\nfunc f() { table := 1; table = 2; _ = table }", ""},
		{"no package comment", "package p", ruleDoc},
		{"no finding in the package comment", strings.Replace(doc, "HIGH-01", "a flaw", 1) + "package p", ruleDoc},
		{"no weakness in the package comment", strings.Replace(doc, "CWE-208", "a flaw", 1) + "package p", ruleDoc},
		{"no non-guarantees", strings.Replace(doc, "# Not guaranteed", "", 1) + "package p", ruleDoc},
		{"parts in another order", strings.NewReplacer("# Use", "# Cost", "# Cost", "# Use").Replace(doc) + "package p", ruleDoc},
		{"no code under Use", strings.Replace(doc, "\tp.Do()", "p.Do()", 1) + "package p", ruleDoc},
		{"init", doc + "package p\nfunc init() {}", ruleInit},
		{"cgo", doc + "package p\nimport \"C\"", ruleCgo},
		{"an exported map", doc + "package p\nvar Names = map[string]bool{}", ruleExported},
		{"an exported pointer", doc + "package p\nvar Default *T\ntype T struct{}", ruleExported},
		{"an assignment", doc + "package p\nvar n int\nfunc f() { n = 1 }", ruleAssigned},
		{"an increment", doc + "package p\nvar n int\nfunc f() { n++ }", ruleAssigned},
		{"a map entry", doc + "package p\nvar m = map[int]int{}\nfunc f() { m[1] = 2 }", ruleAssigned},
		{"an array element's field", doc + "package p\nvar a [2]struct{ n int }\nfunc f() { (a[1]).n += 2 }", ruleAssigned},
		{"a pointer taken", doc + "package p\nvar n int\nfunc f() *int { return &n }", ruleAssigned},
		{"a slice taken of an array", doc + "package p\nvar a [2]int\nfunc f() []int { return a[:] }", ruleAssigned},
		{"delete", doc + "package p\nvar m = map[int]int{}\nfunc f() { delete(m, 1) }", ruleAssigned},
		{"clear", doc + "package p\nvar m = map[int]int{}\nfunc f() { clear(m) }", ruleAssigned},
		{"copy", doc + "package p\nvar s []int\nfunc f() { copy(s, nil) }", ruleAssigned},
		{"a range variable", doc + "package p\nvar n int\nfunc f() { for n = range 3 { } }", ruleAssigned},
		{"an assignment in a func literal at the top", doc + "package p\nvar n int\nvar f = func() { n = 1 }", ruleAssigned},
		{"another package's variable", doc + "package p\nimport \"net/http\"\nfunc f() { http.DefaultTransport = nil }", ruleAssigned},
		{"the environment, read at the start", doc + "package p\nimport \"os\"\nvar home = os.Getenv(\"HOME\")", ruleState},
		{"a mutex", doc + "package p\nimport \"sync\"\nvar mu sync.Mutex", ruleState},
		{"a lazy value", doc + "package p\nimport \"sync\"\nvar once = sync.OnceValue(f)\nfunc f() int { return 1 }", ruleState},
		{"an atomic counter in a struct", doc + "package p\nimport \"sync/atomic\"\nvar s struct{ n atomic.Int64 }", ruleState},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			fset := token.NewFileSet()
			file, err := parser.ParseFile(fset, "p.go", row.source, parser.ParseComments)
			require.NoError(t, err)
			var got []string
			for _, fault := range judge(fset, []string{"golang.org/x/sys/..."}, []*ast.File{file}, nil) {
				got = append(got, fault.rule)
			}
			if row.rule == "" {
				require.Empty(t, got)
			} else {
				require.Equal(t, []string{row.rule}, got)
			}
		})
	}
	require.Equal(t, []string{"a_js.go", "b_tagged.go"}, listed{
		CgoFiles: []string{"a_js.go"}, IgnoredGoFiles: []string{"b_tagged.go", "b_tagged_test.go"},
	}.left())
	built := token.NewFileSet()
	sound, err := parser.ParseFile(built, "p.go", doc+"package p", parser.ParseComments)
	require.NoError(t, err)
	ignored, err := parser.ParseFile(built, "p_cgo.go", "package p\nimport \"C\"", parser.ParseComments)
	require.NoError(t, err)
	require.Len(t, judge(built, nil, []*ast.File{sound}, []*ast.File{ignored}), 1, "a file that is not built is judged too")
	require.Len(t, judge(built, nil, []*ast.File{ignored}, []*ast.File{sound}), 2, "but its comment is not the package's")

	require.True(t, permitted("golang.org/x/sys/unix", []string{"golang.org/x/sys/..."}))
	require.True(t, permitted("net/http", nil))
	require.False(t, permitted("golang.org/x/sysother", []string{"golang.org/x/sys/..."}))
	require.False(t, permitted(module+"/privatefile", nil))
	require.True(t, permitted(module+"/privatefile", []string{"privatefile"}))
}

// TestRequirements keeps the root go.mod to what a package or its tests import.
func TestRequirements(t *testing.T) {
	var mod struct {
		Require []struct {
			Path     string
			Indirect bool
		}
	}
	require.NoError(t, json.Unmarshal(run(t, "", "go", "mod", "edit", "-json"), &mod))
	require.NotEmpty(t, mod.Require)
	for _, r := range mod.Require {
		if !r.Indirect {
			require.Contains(t, requirements, r.Path, "go.mod: this module is not one that users may inherit")
		}
	}
}

// TestLicenceLines looks at every source file of the three modules, since a reader may copy any one folder.
func TestLicenceLines(t *testing.T) {
	seen := 0
	err := filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && (d.Name() == ".git" || d.Name() == "testdata") {
			return filepath.SkipDir
		}
		if d.IsDir() || filepath.Ext(path) != ".go" && !strings.HasPrefix(path, ".ci"+string(filepath.Separator)) {
			return nil
		}
		seen++
		content, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		head, _, _ := bytes.Cut(bytes.TrimPrefix(content, []byte("#!/usr/bin/env bash\n")), []byte("\n"))
		if line := string(head); line != "// SPDX-License-Identifier: Apache-2.0" && line != "# SPDX-License-Identifier: Apache-2.0" {
			t.Errorf("%s:1: no SPDX-License-Identifier line", path)
		}
		return nil
	})
	require.NoError(t, err)
	require.Greater(t, seen, 10)
}

const (
	ruleDoc      = "the package comment names attack, finding and CWE, then has # Use with code, # Guarantees, # Not guaranteed, # Cost, in this order"
	ruleImport   = "a package imports the standard library and what its line in the import policy names"
	ruleInit     = "no init: importing a package must do nothing"
	ruleCgo      = "no import \"C\": a package must build wherever Go does"
	ruleExported = "an exported variable is an error made by errors.New: anything else can be changed by anyone"
	ruleAssigned = "a package variable keeps the value it was declared with"
	ruleState    = "no state at package level, nor what the process has: put it in the type, where a caller can see and own it"
)

type fault struct {
	pos  token.Pos
	rule string
}

var (
	finding = regexp.MustCompile(`\b(CRIT|HIGH|MED|LOW)-\d\d\b`)
	cwe     = regexp.MustCompile(`\bCWE-\d+\b`)
	parts   = regexp.MustCompile(`(?s)\n# Use\n.*\n\t.*\n# Guarantees\n.*\n# Not guaranteed\n.*\n# Cost\n`)
)

// judge holds one package's files against the rules that can be seen in the source: those that are built on a system,
// and those that are left out there, because they need cgo, a tag or another system. Identifiers are resolved by the
// type checker without its imports, which is enough to tell a package variable from what hides it.
func judge(fset *token.FileSet, imports []string, built, left []*ast.File) []fault {
	var faults []fault
	report := func(pos token.Pos, rule string) { faults = append(faults, fault{pos, rule}) }

	var doc string
	for _, file := range built {
		doc += file.Doc.Text()
	}
	attack, _, _ := strings.Cut(doc, "\n# Use\n")
	if !finding.MatchString(attack) || !cwe.MatchString(attack) || !parts.MatchString(doc) {
		report(built[0].Package, ruleDoc)
	}

	files := slices.Concat(built, left)

	info := types.Info{Uses: map[*ast.Ident]types.Object{}}
	checker := types.Config{Importer: noImports{}, Error: func(error) {}}
	pkg, _ := checker.Check("p", fset, files, &info) // the missing imports are errors, and expected
	shared := func(x ast.Expr) bool {
		switch object := info.Uses[root(x)].(type) {
		case *types.Var:
			return object.Parent() == pkg.Scope()
		case *types.PkgName: // of another package
			return true
		}
		return false
	}
	for _, file := range files {
		for _, spec := range file.Imports {
			if path, _ := strconv.Unquote(spec.Path.Value); path == "C" {
				report(spec.Pos(), ruleCgo)
			} else if !permitted(path, imports) {
				report(spec.Pos(), ruleImport)
			}
		}
		for _, decl := range file.Decls {
			switch decl := decl.(type) {
			case *ast.FuncDecl:
				if decl.Recv == nil && decl.Name.Name == "init" {
					report(decl.Pos(), ruleInit)
				}
			case *ast.GenDecl:
				if decl.Tok == token.VAR {
					for _, spec := range decl.Specs {
						judgeVariable(spec.(*ast.ValueSpec), report)
					}
				}
			}
		}
		ast.Inspect(file, func(n ast.Node) bool {
			for _, x := range written(n) {
				if shared(x) {
					report(x.Pos(), ruleAssigned)
				}
			}
			return true
		})
	}
	return faults
}

func judgeVariable(spec *ast.ValueSpec, report func(token.Pos, string)) {
	for i, name := range spec.Names {
		if name.IsExported() && !(i < len(spec.Values) && calls(spec.Values[i], "errors.New")) {
			report(name.Pos(), ruleExported)
		}
	}
	if slices.ContainsFunc(append(slices.Clone(spec.Values), spec.Type), holdsState) {
		report(spec.Pos(), ruleState)
	}
}

// written lists what a node changes, or lets others change.
func written(n ast.Node) []ast.Expr {
	switch n := n.(type) {
	case *ast.AssignStmt:
		if n.Tok != token.DEFINE {
			return n.Lhs
		}
	case *ast.IncDecStmt:
		return []ast.Expr{n.X}
	case *ast.RangeStmt:
		if n.Tok == token.ASSIGN {
			return []ast.Expr{n.Key, n.Value}
		}
	case *ast.UnaryExpr:
		if n.Op == token.AND {
			return []ast.Expr{n.X}
		}
	case *ast.SliceExpr:
		return []ast.Expr{n.X}
	case *ast.CallExpr:
		if calls(n, "delete") || calls(n, "clear") || calls(n, "copy") {
			return n.Args[:1]
		}
	}
	return nil
}

// root is the variable that an expression such as (a.b[i]).c reaches into.
func root(x ast.Expr) *ast.Ident {
	for {
		switch e := x.(type) {
		case *ast.Ident:
			return e
		case *ast.ParenExpr:
			x = e.X
		case *ast.SelectorExpr:
			x = e.X
		case *ast.IndexExpr:
			x = e.X
		case *ast.StarExpr:
			x = e.X
		default:
			return nil
		}
	}
}

func calls(x ast.Expr, name string) bool {
	call, ok := x.(*ast.CallExpr)
	return ok && types.ExprString(call.Fun) == name
}

// holdsState tells whether a type or an initial value, func literals aside, holds something of sync or sync/atomic, or
// what the process was started with.
func holdsState(x ast.Expr) bool {
	found := false
	if x != nil {
		ast.Inspect(x, func(n ast.Node) bool {
			if sel, ok := n.(*ast.SelectorExpr); ok {
				switch types.ExprString(sel.X) {
				case "sync", "atomic":
					found = true
				case "os":
					found = found || slices.Contains([]string{"Args", "Environ", "Getenv", "LookupEnv"}, sel.Sel.Name)
				}
			}
			_, literal := n.(*ast.FuncLit)
			return !literal
		})
	}
	return found
}

type noImports struct{}

func (noImports) Import(string) (*types.Package, error) { return nil, errors.New("not needed") }

func hasExample(files []*ast.File) bool {
	for _, file := range files {
		for _, decl := range file.Decls {
			if f, ok := decl.(*ast.FuncDecl); ok && strings.HasPrefix(f.Name.Name, "Example") {
				return true
			}
		}
	}
	return false
}

func importPolicy(t *testing.T) map[string][]string {
	policy := map[string][]string{}
	for line := range strings.Lines(strings.TrimSpace(rooms)) {
		room, imports, ok := strings.Cut(line, ":")
		require.True(t, ok, line)
		policy[room] = strings.Fields(imports)
	}
	return policy
}

// permitted also holds for the standard library, whose paths are those without a dot in their first part.
func permitted(path string, patterns []string) bool {
	if first, _, _ := strings.Cut(path, "/"); !strings.Contains(first, ".") {
		return true
	}
	return slices.ContainsFunc(patterns, func(pattern string) bool {
		prefix, tree := strings.CutSuffix(pattern, "...")
		return path == pattern || path == module+"/"+pattern || tree && strings.HasPrefix(path, prefix)
	})
}

// listed is the part of `go list -json` that is read here.
type listed struct {
	Dir, ImportPath                   string
	GoFiles, CgoFiles, IgnoredGoFiles []string
	TestGoFiles, XTestGoFiles         []string
}

// left names the files, tests aside, that are not built on the system that was asked for.
func (l listed) left() []string {
	return slices.DeleteFunc(slices.Concat(l.CgoFiles, l.IgnoredGoFiles), func(name string) bool {
		return strings.HasSuffix(name, "_test.go")
	})
}

// list gives the packages of the house as they are on one system.
func list(t *testing.T, system string) []listed {
	var own []listed
	decoder := json.NewDecoder(bytes.NewReader(run(t, system, "go", "list", "-json", "./...")))
	for {
		var pkg listed
		err := decoder.Decode(&pkg)
		if errors.Is(err, io.EOF) {
			require.NotEmpty(t, own)
			return own
		}
		require.NoError(t, err)
		if len(pkg.GoFiles) > 0 { // the root has tests alone
			own = append(own, pkg)
		}
	}
}

func run(t *testing.T, system, name string, args ...string) []byte {
	t.Helper()
	cmd := exec.Command(name, args...)
	if system != "" {
		cmd.Env = append(os.Environ(), "GOOS="+system, "GOARCH=amd64", "CGO_ENABLED=0")
	}
	out, err := cmd.Output()
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) {
		err = fmt.Errorf("%w: %s", err, exit.Stderr)
	}
	require.NoError(t, err, strconv.Quote(cmd.String()))
	return out
}

func parse(t *testing.T, fset *token.FileSet, dir string, names []string) []*ast.File {
	t.Helper()
	var files []*ast.File
	for _, name := range names {
		file, err := parser.ParseFile(fset, filepath.Join(dir, name), nil, parser.ParseComments)
		require.NoError(t, err)
		files = append(files, file)
	}
	return files
}
