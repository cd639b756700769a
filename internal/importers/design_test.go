package importers

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

var (
	// packageRow matches a row of the table of packages in docs/design.md: name, contents, imports.
	packageRow = regexp.MustCompile("^\\| `(\\w+)` \\| [^|]+ \\|([^|]*)\\|$")
	// placeRow matches a row of the table of where to find things.
	placeRow = regexp.MustCompile("^\\| [^`|]+ \\| ([^|]*\\.go.*) \\|$")
	quoted   = regexp.MustCompile("`([^`]+)`")
)

// quotes returns the texts in backquotes.
func quotes(text string) (found []string) {
	for _, m := range quoted.FindAllStringSubmatch(text, -1) {
		found = append(found, m[1])
	}
	return found
}

// design returns the lines of docs/design.md.
func design(t *testing.T) []string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(modules[0].dir, "docs/design.md"))
	if err != nil {
		t.Fatal(err)
	}
	return strings.Split(string(text), "\n")
}

// TestDesignNamesPackages compares the table of packages and the picture in docs/design.md with the packages in internal/core. Each package
// must import what its row says. The imported packages must stand in rows, and in lines of the picture, below the package's own.
func TestDesignNamesPackages(t *testing.T) {
	said, rows, lines := map[string][]string{}, map[string]int{}, map[string]int{}
	for n, text := range design(t) {
		if m := packageRow.FindStringSubmatch(text); m != nil {
			said[m[1]], rows[m[1]] = quotes(m[2]), n
		} else if strings.HasPrefix(text, "    ") {
			for _, word := range strings.Fields(text) {
				lines[strings.Trim(word, ",")] = n
			}
		}
	}
	core := modules[0].path + "/internal/core/"
	listed := run(t, modules[0].dir, "list", "-f", `{{.ImportPath}} {{join .Imports " "}}`, "./internal/core/...")
	for _, line := range strings.Split(strings.TrimSpace(listed), "\n") {
		var names []string
		for _, path := range strings.Fields(line) {
			if name, found := strings.CutPrefix(path, core); found {
				names = append(names, name)
			}
		}
		name, imports := names[0], names[1:]
		if rows[name] == 0 || lines[name] == 0 {
			t.Errorf("%s is not in the table, or not in the picture", name)
			continue
		}
		if !slices.Equal(said[name], imports) {
			t.Errorf("%s imports %v, and its row says %v", name, imports, said[name])
		}
		for _, below := range imports {
			if rows[below] <= rows[name] || lines[below] <= lines[name] {
				t.Errorf("%s imports %s, which is not below it", name, below)
			}
		}
		delete(said, name)
	}
	for name := range said {
		t.Errorf("there is no package %s", name)
	}
}

// TestDesignNamesPlaces checks that the files and names in the table of places exist.
func TestDesignNamesPlaces(t *testing.T) {
	files := 0
	for _, text := range design(t) {
		m := placeRow.FindStringSubmatch(text)
		if m == nil {
			continue
		}
		path, source := "", ""
		for _, name := range quotes(m[1]) {
			if strings.HasSuffix(name, ".go") {
				content, err := os.ReadFile(filepath.Join(modules[0].dir, name))
				if err != nil {
					t.Error(err)
				}
				path, source = name, string(content)
				files++
				continue
			}
			word := name[strings.LastIndex(name, ".")+1:]
			if !regexp.MustCompile(`(?m)^(func (\([^)]*\) )?|type |var |const |\t)` + regexp.QuoteMeta(word) + `\b`).MatchString(source) {
				t.Errorf("%s is not declared in %q", name, path)
			}
		}
	}
	if files == 0 {
		t.Error("the table names no file")
	}
}
