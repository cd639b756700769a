// Command port generates the module in podman/, which is for go.podman.io/storage, from this module, which
// is for github.com/containers/storage. Run it in the directory of this module.
//
// Some files of podman/ are written by hand: the code that depends on the library's own interface, and tests of podman/
// alone. Port generates no file in their place.
package main

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// target is the directory of the generated module.
const target = "podman"

// packages are the directories to port: the driver, and the packages that it or its tests need and that import the
// storage library. The packages in podman/ import from this module what else they need.
var packages = []string{".", "internal/differential/library", "internal/storagelib"}

// programs are modules of their own: the example program and the tests with real images. Port writes them to the
// directory that -build names. The go.mod and go.sum for a program there are in podman/modfiles, under the last part of
// the program's path.
var programs = []string{"example", "internal/imagetest"}

// left are files that make no sense for the other library: how the library reads a storage.conf, how package differential finds faults, and
// the comparison of the errors with docs/errors.md, which podman/ does not have.
var left = []string{
	"library_test.go", "errortexts_test.go", "errortextsrows_test.go", "errortextsmore_test.go", "internal/differential/library/run_test.go",
}

// copied are files that both modules contain, because each module is published with its own directory only.
var copied = []string{"LICENSE"}

// hand are the files of podman/ that are written by hand.
var hand = []string{
	"library.go", "loadoptions_test.go", "oldloadoptions_test.go", "register_test.go", "shared_test.go", "storageconf_test.go",
	"internal/bench/doc.go", "internal/bench/staging_test.go", "internal/differential/library/applyto.go",
}

func main() {
	check := flag.Bool("check", false, "write nothing, and fail if there would be something to write")
	build := flag.String("build", "", "write the programs and their tests, and nothing else, to this `directory`")
	flag.Parse()
	err := error(nil)
	if *build != "" {
		err = writePrograms(*build)
	} else {
		err = run(*check, flag.NArg())
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "port:", err)
		os.Exit(1)
	}
}

func run(check bool, args int) error {
	if args > 0 {
		return errors.New("usage: port [-check] [-build directory]")
	}
	want, err := generate(target, packages)
	if err != nil {
		return err
	}
	for _, path := range copied {
		content, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		want[filepath.Join(target, path)] = content
	}
	stale, err := compare(want)
	if err != nil {
		return err
	}
	if check {
		if len(stale) > 0 {
			return fmt.Errorf("stale, run \"go generate ./...\": %s", strings.Join(stale, ", "))
		}
		return nil
	}
	for _, path := range stale {
		if err := write(path, want[path]); err != nil {
			return err
		}
	}
	return nil
}

// writePrograms writes each program to the directory of its name in dir.
func writePrograms(dir string) error {
	files, err := generate(dir, programs)
	if err != nil {
		return err
	}
	for _, program := range programs {
		for from, to := range map[string]string{".mod": "go.mod", ".sum": "go.sum"} {
			content, err := os.ReadFile(filepath.Join(target, "modfiles", filepath.Base(program)+from))
			if err != nil {
				return err
			}
			files[filepath.Join(dir, program, to)] = content
		}
		// A generated file that has no source any more must not be built.
		if err := os.RemoveAll(filepath.Join(dir, program)); err != nil {
			return err
		}
	}
	for path, content := range files {
		if err := write(path, content); err != nil {
			return err
		}
	}
	return nil
}

// generate returns the contents of the generated files of packages in the directory target, by path.
func generate(target string, packages []string) (map[string][]byte, error) {
	files := map[string][]byte{}
	for _, dir := range packages {
		sources, err := filepath.Glob(filepath.Join(dir, "*.go"))
		if err != nil {
			return nil, err
		}
		if len(sources) == 0 {
			return nil, fmt.Errorf("there are no Go files in %s", dir)
		}
		for _, source := range sources {
			if slices.Contains(left, source) {
				continue
			}
			if slices.Contains(hand, source) {
				continue
			}
			path := filepath.Join(target, source)
			content, err := os.ReadFile(source)
			if err != nil {
				return nil, err
			}
			if files[path], err = port(source, content); err != nil {
				return nil, err
			}
		}
	}
	return files, nil
}

func isGenerated(content []byte) bool { return bytes.HasPrefix(content, []byte(mark)) }

// compare returns the paths of generated files in podman/ that are missing, differ from want, or have no source.
func compare(want map[string][]byte) ([]string, error) {
	var stale []string
	for path, content := range want {
		have, err := os.ReadFile(path)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
		if err != nil || !bytes.Equal(have, content) {
			stale = append(stale, path)
		}
	}
	err := filepath.WalkDir(target, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() || filepath.Ext(path) != ".go" || want[path] != nil {
			return err
		}
		rel, err := filepath.Rel(target, path)
		if err != nil || slices.Contains(hand, rel) {
			return err
		}
		content, err := os.ReadFile(path)
		if err == nil && !isGenerated(content) {
			err = fmt.Errorf("%s is not marked as generated, and not one that is written by hand", path)
		}
		stale = append(stale, path)
		return err
	})
	slices.Sort(stale)
	return stale, err
}

// write writes the content to path, or removes path if the content is nil.
func write(path string, content []byte) error {
	if content == nil {
		return os.Remove(path)
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	return os.WriteFile(path, content, 0o644)
}
