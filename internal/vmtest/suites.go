//go:build linux

package main

import (
	"path"
	"slices"
	"strings"

	"github.com/seed-642172e2/aufs/internal/vmtest/wire"
)

// A library is a version of the driver: a module of this repository, for one of the storage libraries.
type library struct {
	name string // prefix of the names of suites and programs
	pkg  string // the import path of the driver
	dir  string // relative to the root of this module
	made string // like dir, for the example program and the tests with images
	tags string
	core bool // the tests of corePackages run with this library
}

// Names of libraries, for -libraries.
const (
	libraryContainers = "containers"
	libraryPodman     = "podman"
)

func libraryNames() []string { return []string{libraryContainers, libraryPodman} }

// libraryNamed returns the library of the given name.
func libraryNamed(name string) library {
	const module = "github.com/seed-642172e2/aufs"
	if name == libraryPodman {
		return library{name: "podman-", pkg: module + "/podman", dir: "podman", made: "build/podman", tags: tagsPodman}
	}
	return library{pkg: module, dir: ".", made: ".", tags: tagsOwn, core: true}
}

// example returns the example program of the library's module.
func (l library) example() wire.Program { return wire.Program{Name: l.name + "example"} }

// all returns the libraries to test.
func (opts options) all() []library {
	all := make([]library, 0, len(opts.libraries))
	for _, name := range opts.libraries {
		all = append(all, libraryNamed(name))
	}
	return all
}

// A suite is a package whose tests run in the guest.
type suite struct {
	wire.Suite
	pkg  string // the import path
	dir  string // relative to the root of this module
	tags string
}

// runsTests reports whether the guest runs the tests, and not benchmarks or a command.
func (opts options) runsTests() bool { return opts.bench == "" && opts.system == "" }

// suites returns the suites to run.
func (opts options) suites() []suite {
	if !opts.runsTests() {
		return nil
	}
	var suites []suite
	for _, l := range opts.all() {
		suites = append(suites, opts.suitesOf(l)...)
	}
	return suites
}

// suitesOf returns the suites of one library. The packages that the driver is
// made of come before the driver.
func (opts options) suitesOf(l library) []suite {
	var suites []suite
	if l.core {
		for _, dir := range opts.core {
			name := strings.ReplaceAll(strings.TrimPrefix(dir, "internal/"), "/", "-")
			suites = append(suites, l.suite(name, dir, l.tags))
		}
	}
	suites = append(suites, l.suite("driver", ".", l.tags), l.madeSuite("examples", "example", l.tags))
	if opts.image != "" {
		suites = append(suites, l.madeSuite("images", "internal/imagetest", l.tags+" containers_image_openpgp"))
	}
	return suites
}

// suite returns the suite for the package in the directory dir of the library's module.
func (l library) suite(name, dir, tags string) suite {
	return suite{Suite: wire.Suite{Name: l.name + name}, pkg: path.Join(l.pkg, dir), dir: path.Join(l.dir, dir), tags: tags}
}

// madeSuite is suite for a package of a module that is made for each library.
func (l library) madeSuite(name, dir, tags string) suite {
	s := l.suite(name, dir, tags)
	s.dir = path.Join(l.made, dir)
	return s
}

// examples returns the example programs to run.
func (opts options) examples() []wire.Program {
	var examples []wire.Program
	for _, l := range opts.all() {
		examples = append(examples, l.example())
	}
	return examples
}

// hasPodman reports whether the podman library is tested.
func (opts options) hasPodman() bool { return slices.Contains(opts.libraries, libraryPodman) }
