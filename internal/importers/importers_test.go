package importers

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// module is one that has the driver, and the storage library that it is for.
type module struct{ dir, path, storage, tags string }

var modules = []module{
	{"../..", "github.com/seed-642172e2/aufs", "github.com/containers/storage", "exclude_graphdriver_aufs,exclude_graphdriver_btrfs"},
	{"../../podman", "github.com/seed-642172e2/aufs/podman", "go.podman.io/storage", "exclude_graphdriver_btrfs"},
}

// added are modules that come with the driver, for its tests alone, in versions that raise nothing: rapid requires no module, and text is in
// the version that the storage library's own requirement of kr/pretty names.
var added = map[string]string{"pgregory.net/rapid": "v1.3.0", "github.com/kr/text": "v0.2.0"}

// unwanted are parts of the names of modules that only the example program needs.
var unwanted = []string{"mpb", "cupwriter", "runewidth", "uniseg", "uax29"}

// TestImportersGetNoNewerModules compares the modules of a program that has the driver with those of one that has the storage library
// alone, each in the least version that the driver asks for.
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
				// It has the packages that know no storage library.
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

// otherStorage are the storage libraries that the module is not for.
func (m module) otherStorage() (names []string) {
	for _, other := range modules {
		if other.storage != m.storage {
			names = append(names, other.storage)
		}
	}
	return names
}

// requirements are the versions of the storage library and of Go that the module's go.mod names.
func (m module) requirements(t *testing.T) (storage, goVersion string) {
	t.Helper()
	storage = run(t, m.dir, "list", "-m", "-f", "{{.Version}}", m.storage)
	return strings.TrimSpace(storage), strings.TrimSpace(run(t, m.dir, "list", "-m", "-f", "{{.GoVersion}}"))
}

// program makes a module with these requirements that imports packages, and returns its directory.
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

// versions are those of all modules in the graph of the one in dir.
func versions(t *testing.T, dir string) map[string]string {
	t.Helper()
	all := map[string]string{}
	for _, line := range strings.Split(strings.TrimSpace(run(t, dir, "list", "-m", "-f", "{{.Path}} {{.Version}}", "all")), "\n") {
		name, version, _ := strings.Cut(line, " ")
		all[name] = version
	}
	return all
}

// checkSums has the go command write the go.mod and go.sum of the program in dir, as for a build, and looks there, and among the packages, for
// what should not be had for the module m.
func checkSums(t *testing.T, dir string, m module) {
	t.Helper()
	deps := run(t, dir, "list", "-deps", "-tags", m.tags, ".")
	sums, err := os.ReadFile(filepath.Join(dir, "go.sum"))
	if err != nil {
		t.Fatal(err)
	}
	requirements, err := os.ReadFile(filepath.Join(dir, "go.mod"))
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range strings.Split(string(sums)+string(requirements)+deps, "\n") {
		for _, name := range append(m.otherStorage(), unwanted...) {
			if strings.Contains(line, name) {
				t.Errorf("go.mod, go.sum or the packages have %q", line)
			}
		}
	}
}

// run is one call of the go command in dir, without the settings of whoever runs the tests. The versions are those of go.mod, which may be
// completed; what is not in the module cache is downloaded, unless the proxy is off.
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

// TestSharedPackagesKnowNoStorageLibrary looks for a storage library among the packages that those of internal/core need, and those that
// the other module and its tests import. Tests of internal/core run with a storage library.
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
	for _, path := range strings.Fields(run(t, root.dir, append([]string{"list", "-deps"}, shared...)...)) {
		for _, m := range modules {
			if path == m.storage || strings.HasPrefix(path, m.storage+"/") {
				t.Errorf("a package of both modules needs %s", path)
			}
		}
	}
}
