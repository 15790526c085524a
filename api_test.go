// SPDX-License-Identifier: Apache-2.0

package merlon_test

import (
	"bytes"
	"flag"
	"go/ast"
	"go/doc"
	"go/format"
	"go/token"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/require"
)

var update = flag.Bool("update", false, "rewrite api/*.txt to what the packages export now")

// TestAPI compares what each package exports with api/<package>.txt, so that no name is added, changed or lost
// without a reviewer seeing it. The surface is the same on every system. After a change that is meant:
//
//	go test -run TestAPI -update .
func TestAPI(t *testing.T) {
	golden, err := filepath.Glob("api/*.txt")
	require.NoError(t, err)
	gone := map[string]bool{}
	for _, name := range golden {
		gone[name] = true
	}
	for _, system := range systems {
		for _, pkg := range list(t, system) {
			room := strings.TrimPrefix(pkg.ImportPath, module+"/")
			name := filepath.Join("api", strings.ReplaceAll(room, "/", ".")+".txt")
			delete(gone, name)
			fset := token.NewFileSet()
			got := surface(t, fset, pkg.ImportPath, parse(t, fset, pkg.Dir, pkg.GoFiles))
			if *update && system == systems[0] {
				require.NoError(t, os.WriteFile(name, []byte(got), 0o644))
			}
			want, err := os.ReadFile(name)
			require.NoError(t, err)
			if diff := cmp.Diff(strings.Split(string(want), "\n"), strings.Split(got, "\n")); diff != "" {
				t.Errorf("%s (%s): the exported surface is not the recorded one (-recorded +now):\n%s", name, system, diff)
			}
		}
	}
	require.Empty(t, gone, "records without a package")
}

// surface prints the exported declarations of a package, without comments, bodies and unexported fields.
func surface(t *testing.T, fset *token.FileSet, path string, files []*ast.File) string {
	t.Helper()
	pkg, err := doc.NewFromFiles(fset, files, path)
	require.NoError(t, err)
	var out bytes.Buffer
	show := func(decl ast.Decl) {
		ast.Inspect(decl, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.Field:
				n.Doc, n.Comment = nil, nil
			case *ast.ValueSpec:
				n.Doc, n.Comment = nil, nil
			case *ast.TypeSpec:
				n.Doc, n.Comment = nil, nil
			case *ast.StructType:
				n.Incomplete = false // else a comment says that there are fields which are not exported
			case *ast.GenDecl:
				n.Doc = nil
				if n.Tok == token.VAR {
					for _, spec := range n.Specs { // by the rules of the house an error; its text is no interface
						spec.(*ast.ValueSpec).Type, spec.(*ast.ValueSpec).Values = ast.NewIdent("error"), nil
					}
				}
			case *ast.FuncDecl:
				n.Doc, n.Body = nil, nil
			}
			return true
		})
		// A set of its own leaves out the line breaks that comments took up.
		require.NoError(t, format.Node(&out, token.NewFileSet(), decl))
		out.WriteString("\n")
	}
	values := func(list []*doc.Value) {
		for _, v := range list {
			show(v.Decl)
		}
	}
	functions := func(list []*doc.Func) {
		for _, f := range list {
			show(f.Decl)
		}
	}
	values(pkg.Consts)
	values(pkg.Vars)
	functions(pkg.Funcs)
	for _, typ := range pkg.Types {
		show(typ.Decl)
		values(typ.Consts)
		values(typ.Vars)
		functions(typ.Funcs)
		functions(typ.Methods)
	}
	return out.String()
}
