package importers

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// A module has the driver for one storage library.
type module struct{ dir, path, storage, tags string }

var modules = []module{
	{"../..", "github.com/seed-642172e2/aufs", "github.com/containers/storage", "exclude_graphdriver_aufs,exclude_graphdriver_btrfs"},
	{"../../podman", "github.com/seed-642172e2/aufs/podman", "go.podman.io/storage", "exclude_graphdriver_btrfs"},
}

// added are modules that the driver adds, for its tests only, in versions that raise no other: rapid requires no module, and text has the
// version that kr/pretty requires, which the storage library requires.
var added = map[string]string{"pgregory.net/rapid": "v1.3.0", "github.com/kr/text": "v0.2.0"}

// unwanted are parts of the names of modules that only the example program needs.
var unwanted = []string{"mpb", "cupwriter", "runewidth", "uniseg", "uax29"}

// TestImportersGetNoNewerModules compares the modules of a program that imports the driver with those of a program that imports only
// the storage library, in the minimum version that the driver requires.
func TestImportersGetNoNewerModules(t *testing.T) {
	for _, m := range modules {
		t.Run(m.storage, func(t *testing.T) {
			version, goVersion := m.requirements(t)
			storage := fmt.Sprintf("require %s %s\n", m.storage, version)
			alone := program(t, goVersion, storage, m.storage+"/drivers")
			dir, err := filepath.Abs(m.dir)
			if err != nil {
				t.Fatal(err)
			}
			root, err := filepath.Abs(modules[0].dir)
			if err != nil {
				t.Fatal(err)
			}
			driver := fmt.Sprintf("require %s v0.0.0\nreplace %s => %s\n", m.path, m.path, dir)
			if dir != root {
				// The podman module imports the packages of the root module that know no storage library.
				driver += fmt.Sprintf("replace %s => %s\n", modules[0].path, root)
			}
			with := program(t, goVersion, storage+driver, m.storage+"/drivers", m.path)
			without := versions(t, alone)
			for name, version := range versions(t, with) {
				before, known := without[name]
				switch {
				case name == "importer", name == m.path, name == modules[0].path, known && version == before, !known && added[name] == version:
				case known:
					t.Errorf("%s is %s, and %s without the driver", name, version, before)
				default:
					t.Errorf("%s %s is there for the driver alone", name, version)
				}
			}
			checkSums(t, with, m)
		})
	}
}

// otherStorage returns the storage libraries that the module is not for.
func (m module) otherStorage() (names []string) {
	for _, other := range modules {
		if other.storage != m.storage {
			names = append(names, other.storage)
		}
	}
	return names
}

// requirements returns the versions of the storage library and of Go in the module's go.mod.
func (m module) requirements(t *testing.T) (storage, goVersion string) {
	t.Helper()
	storage = run(t, m.dir, "list", "-m", "-f", "{{.Version}}", m.storage)
	return strings.TrimSpace(storage), strings.TrimSpace(run(t, m.dir, "list", "-m", "-f", "{{.GoVersion}}"))
}

// program makes a module that has these requirements and imports the packages. It returns the module's directory.
func program(t *testing.T, goVersion, requirements string, packages ...string) string {
	t.Helper()
	dir := t.TempDir()
	source := "package main\n\n"
	for _, path := range packages {
		source += fmt.Sprintf("import _ %q\n", path)
	}
	for name, content := range map[string]string{
		"go.mod":  fmt.Sprintf("module importer\n\ngo %s\n\n%s", goVersion, requirements),
		"main.go": source + "\nfunc main() {}\n",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// versions returns the versions of all modules in the module graph of the module in dir.
func versions(t *testing.T, dir string) map[string]string {
	t.Helper()
	all := map[string]string{}
	for _, line := range strings.Split(strings.TrimSpace(run(t, dir, "list", "-m", "-f", "{{.Path}} {{.Version}}", "all")), "\n") {
		name, version, _ := strings.Cut(line, " ")
		all[name] = version
	}
	return all
}

// checkSums has the go command tidy the go.mod and go.sum of the program in dir, and make its vendor folder. It fails the
// test if these files, the program's packages or the vendor folder name anything that the module m must not bring.
func checkSums(t *testing.T, dir string, m module) {
	t.Helper()
	deps := run(t, dir, "list", "-deps", "-tags", m.tags, ".")
	// Tidy writes the most to go.sum: it looks at the tests of all imported packages as well.
	run(t, dir, "mod", "tidy")
	run(t, dir, "mod", "vendor")
	sums, err := os.ReadFile(filepath.Join(dir, "go.sum"))
	if err != nil {
		t.Fatal(err)
	}
	vendored, err := os.ReadFile(filepath.Join(dir, "vendor", "modules.txt"))
	if err != nil {
		t.Fatal(err)
	}
	requirements, err := os.ReadFile(filepath.Join(dir, "go.mod"))
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range strings.Split(string(sums)+string(requirements)+deps+string(vendored), "\n") {
		for _, name := range append(m.otherStorage(), unwanted...) {
			if strings.Contains(line, name) {
				t.Errorf("go.mod, go.sum, the packages or the vendor folder have %q", line)
			}
		}
	}
}

// run runs the go command in dir, without the settings of the user. It uses the versions in go.mod, which the go command may complete. The
// go command downloads modules that are not in the module cache, unless the proxy is off.
func run(t *testing.T, dir string, args ...string) string {
	t.Helper()
	cmd := exec.Command("go", args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "GOFLAGS=-mod=mod", "GOWORK=off", "GOSUMDB=off", "GOOS=linux")
	var errs strings.Builder
	cmd.Stderr = &errs
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s in %s: %v\n%s", cmd, dir, err, errs.String())
	}
	return string(out)
}

// TestSharedPackagesKnowNoStorageLibrary checks that no storage library is among the dependencies of the packages that the other module and
// its tests import, and of the packages in internal/core and their tests. If a test there imported a library, "go mod tidy" would write it to
// the go.sum of each program that imports the driver for the other library.
func TestSharedPackagesKnowNoStorageLibrary(t *testing.T) {
	root, other := modules[0], modules[1]
	shared := []string{"./internal/core/..."}
	for _, path := range strings.Fields(run(t, other.dir, "list", "-deps", "-test", "-tags", other.tags, "./...")) {
		if strings.HasPrefix(path, root.path+"/") && !strings.HasPrefix(path, other.path) {
			shared = append(shared, path)
		}
	}
	if len(shared) == 1 {
		t.Error("the other module imports nothing of the root module")
	}
	deps := run(t, root.dir, append([]string{"list", "-deps"}, shared...)...) +
		run(t, root.dir, "list", "-deps", "-test", "-tags", root.tags, "./internal/core/...")
	for _, path := range strings.Fields(deps) {
		for _, m := range modules {
			if path == m.storage || strings.HasPrefix(path, m.storage+"/") {
				t.Errorf("a package of both modules needs %s", path)
			}
		}
	}
}
