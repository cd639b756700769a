package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/containers/storage"
)

// run is one run of the program. The steps fill in its fields.
type run struct {
	opts options
	root string // Directory for everything that the run writes.
	show *progress

	can    abilities
	source string // Directory that has the input.
	input  tree

	store   storage.Store
	backend string // The file system that makes the union, by the driver's status.
	tars    []string
	layers  []string // IDs, the lowest first.

	image     string
	container *storage.Container
	mounted   string // Where the container is mounted.
	union     bool   // The driver stacks branches; vfs copies them, and cannot mount read-only.

	imageTree   tree // The image in a plain directory, before the edits.
	modelTree   tree // The image in a plain directory, after the edits.
	mountedTree tree // The edited container, mounted again.
	appliedTree tree // The image of the exported changes.

	edits        []edit
	exported     string // Archive of the container's changes.
	appliedImage string
}

// newRun prepares a run without starting it.
func newRun(ctx context.Context, opts options, root string) *run {
	_, err := unix.IoctlGetTermios(int(os.Stdout.Fd()), unix.TCGETS)
	return &run{opts: opts, root: root, show: &progress{ctx: ctx, out: os.Stdout, bars: err == nil}}
}

// all does everything but the removal of the root directory.
func (r *run) all() error {
	for _, part := range []func() error{
		r.prepare, r.makeImage, r.makeModel, r.startContainer, r.editContainer, r.exportContainer, r.applyExport, r.compare, r.finish,
	} {
		if err := part(); err != nil {
			return err
		}
	}
	return nil
}

// prepare reads the input and opens the store.
func (r *run) prepare() (err error) {
	if err := os.Mkdir(r.path(""), 0o700); err != nil {
		return err
	}
	if r.can, err = probeAbilities(r.path("")); err != nil {
		return err
	}
	r.can.DirOverFile = r.opts.driver != "overlay"
	input := r.opts.input
	if input == "" {
		if input, err = defaultInput(); err != nil {
			return err
		}
	}
	fmt.Printf("input   %s\nstore   %s\n", input, r.root)
	if r.source, err = openInput(input, r.path("input")); err != nil {
		return err
	}
	if r.store, err = openStore(r.root, r.opts); err != nil {
		return fmt.Errorf("open a store with the driver %q: %w", r.opts.driver, err)
	}
	if r.backend, err = statusOf(r.store, "Backend"); err != nil {
		return err
	}
	fmt.Printf("driver  %s, backend %s\n\n", r.store.GraphDriverName(), orElse(r.backend, "its own"))
	return r.show.run("read the input", 0, func(add func(int64)) (string, error) {
		r.input, err = scanInput(r.source, add)
		return count(len(r.input), "file") + ", " + megabytes(r.input.bytes()), err
	})
}

// compare compares the container's tree with the applied tree and with the model's.
func (r *run) compare() error {
	return r.show.run("compare the trees", 0, func(func(int64)) (string, error) {
		err := report("the container", "the applied export", compareTrees(r.mountedTree, r.appliedTree, nil))
		if err != nil {
			return "", err
		}
		return "container, applied export, model", report("the container", "the model",
			compareTrees(r.mountedTree, r.modelTree, r.notInModel()))
	})
}

// notInModel returns the paths at which a union may differ from a plain directory:
// the root, which is in no archive, and, except on aufs, the hard link across
// layers.
func (r *run) notInModel() map[string]bool {
	paths := map[string]bool{".": true}
	if r.backend != "aufs" {
		paths[lowerLinks[0]], paths[lowerLinks[1]] = true, true
	}
	return paths
}

// finish removes everything and checks that nothing is left.
func (r *run) finish() error {
	if !r.opts.keep {
		err := r.show.run("delete everything", 0, func(func(int64)) (string, error) {
			return "", deleteAll(r.store, r.container.ID, r.appliedImage, r.image)
		})
		if err != nil {
			return err
		}
	}
	home := filepath.Join(r.store.GraphRoot(), r.store.GraphDriverName())
	if err := shutdown(r.store); err != nil {
		return err
	}
	r.store = nil
	return r.show.run("look for leftovers", 0, func(func(int64)) (string, error) {
		points, err := mountsUnder(r.root)
		if err == nil {
			err = reportLines("still mounted", points)
		}
		if err != nil || r.opts.keep {
			return "nothing is mounted", err
		}
		left, err := leftovers(home)
		if err == nil {
			err = reportLines("left on disk", left)
		}
		return "none", err
	})
}

// abandon unmounts everything that a failed run has mounted.
func (r *run) abandon() {
	if r.store == nil {
		return
	}
	if err := forceShutdown(r.store); err != nil {
		fmt.Fprintln(os.Stderr, "example: shut the store down:", err)
	}
}

// printResult prints the table of steps and the last line.
func (r *run) printResult() {
	fmt.Println()
	if err := writeTable(os.Stdout, r.show.steps); err != nil {
		fmt.Fprintln(os.Stderr, "example:", err)
	}
	fmt.Printf("\ndriver %s, backend %s\n", r.opts.driver, orElse(r.backend, "its own"))
	rest := "nothing is left mounted or on disk"
	if r.opts.keep {
		rest = "nothing is left mounted; the store is kept in " + r.root
	}
	fmt.Printf("the trees are equal: %s entries; %s\n", thousands(int64(len(r.mountedTree))), rest)
}

// path returns the path of one of the run's own files, which are not part of the store.
func (r *run) path(name string) string {
	return filepath.Join(r.root, "work", name)
}

// orElse returns s, or other if s is empty.
func orElse(s, other string) string {
	if s == "" {
		return other
	}
	return s
}
