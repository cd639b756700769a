//go:build linux && (!exclude_graphdriver_aufs || ours)

package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	graphdriver "github.com/containers/storage/drivers"
)

// The layers of the sample store, each on top of the previous one.
const (
	sampleBase    = "base"    // Written as a directory: every kind of file.
	sampleChild   = "child"   // Written by a mount: every kind of change.
	sampleApplied = "applied" // Unpacked from an archive with whiteouts.
	sampleTop     = "top"     // Written by a mount, over sampleDepth more layers.
)

// sampleDepth is the number of layers directly below the top one, each with two
// files. The driver hands as many branches as fit into a page to the kernel in
// one call, and aufs corrupts its memory if a call has more than 80 branches.
// sampleDepth stays well below that.
const sampleDepth = 40

// writeSample makes the sample store in an empty home directory.
func writeSample(d graphdriver.Driver, _ []string) error {
	// The modes of files must not depend on the caller's umask.
	unix.Umask(0)
	for _, makeLayer := range []func(graphdriver.Driver) error{makeBase, makeChild, makeApplied, makeDeep} {
		if err := makeLayer(d); err != nil {
			return err
		}
	}
	return nil
}

// makeBase makes the base layer.
func makeBase(d graphdriver.Driver) error {
	if err := d.Create(sampleBase, "", nil); err != nil {
		return err
	}
	return mounted(d, sampleBase, func(dir string) error {
		return inOrder(dir, baseSteps())
	})
}

// baseSteps returns the steps that write the files of the base layer.
func baseSteps() []step {
	return []step{
		mkdir("dir", 0o755), write("dir/a", "a\n"), mkdir("dir/sub", 0o711), write("dir/sub/b", "b\n"),
		mkdir("sticky", 0o1777),
		write("f", "two names\n"), mkdir("links", 0o755), link("f", "links/g"),
		write("kept-1", "two names, never touched\n"), link("kept-1", "kept-2"),
		symlink("dir/a", "symlink"), symlink("/no/such/file", "dangling"),
		write("setuid", "#!/bin/false\n"), chmod("setuid", 0o4755),
		write("owned", "not root's\n"), chown("owned", 1000, 2000),
		write("xattr", "has an attribute\n"), setXattr("xattr", "base"),
		write("capability", "has a capability\n"), setCapability("capability"),
		fifo("fifo"), device("null", unix.Mkdev(1, 3)),
		write("gone", "deleted by the child\n"),
		mkdir("gone-dir", 0o755), write("gone-dir/x", "x\n"),
		mkdir("opaque", 0o755), write("opaque/old", "old\n"), write("opaque/both", "below\n"),
		write("rename-me", "renamed by the child\n"),
		write("copy-up", "as in the base\n"), write("mode-only", "same contents, other mode\n"),
		write("by-archive", "deleted by the archive\n"),
		mkdir("opaque-by-archive", 0o755), write("opaque-by-archive/old", "old\n"),
		mkdir("deep", 0o755), write("deep/last", "base\n"),
	}
}

// makeChild makes a layer that changes the base through a mount.
func makeChild(d graphdriver.Driver) error {
	if err := d.CreateReadWrite(sampleChild, sampleBase, nil); err != nil {
		return err
	}
	return mounted(d, sampleChild, func(dir string) error {
		return inOrder(dir, childSteps())
	})
}

// childSteps returns the steps that change the base.
//
// The write to f leaves a pseudo-link in the branch. Most hosts have no auplink
// now. Without auplink the driver unmounts without flushing the pseudo-link, and
// from then on the other name, links/g, shows the contents of the base again.
func childSteps() []step {
	return []step{
		remove("gone"), remove("gone-dir"),
		remove("opaque"), mkdir("opaque", 0o755), write("opaque/new", "new\n"), write("opaque/both", "above\n"),
		rename("rename-me", "renamed"),
		write("copy-up", "as in the child\n"),
		chmod("mode-only", 0o600), chown("owned", 1001, 2001), setXattr("xattr", "child"),
		write("f", "two names, written by one\n"),
		write("new", "the child's own\n"), link("new", "new-link"),
	}
}

// makeApplied makes a layer from an archive.
func makeApplied(d graphdriver.Driver) error {
	return applySample(d, sampleApplied, sampleChild, []member{
		{name: "by-archive.txt", text: "from the archive\n"},
		{name: ".wh.by-archive"},
		{name: ".wh.new"},
		{name: "dir/"},
		{name: "dir/.wh.sub"},
		{name: "opaque-by-archive/"},
		{name: "opaque-by-archive/.wh..wh..opq"},
		{name: "opaque-by-archive/new", text: "new\n"},
		{name: "gone", text: "back again\n"},
	})
}

// makeDeep makes sampleDepth layers of two files each, and the layer on top of them.
func makeDeep(d graphdriver.Driver) error {
	below := sampleApplied
	for i := 1; i <= sampleDepth; i++ {
		id := fmt.Sprintf("deep-%02d", i)
		err := applySample(d, id, below, []member{
			{name: "deep/"},
			{name: "deep/" + id, text: id + "\n"},
			{name: "deep/last", text: id + "\n"},
		})
		if err != nil {
			return err
		}
		below = id
	}
	if err := d.CreateReadWrite(sampleTop, below, nil); err != nil {
		return err
	}
	return mounted(d, sampleTop, func(dir string) error {
		return inOrder(dir, []step{remove("deep/deep-01"), write("deep/last", "top\n"), write("copy-up", "as at the top\n")})
	})
}

// applySample makes a layer and unpacks an archive of the members into it.
func applySample(d graphdriver.Driver, id, parent string, members []member) error {
	if err := d.Create(id, parent, nil); err != nil {
		return err
	}
	diff, err := archiveOf(members)
	if err != nil {
		return err
	}
	_, err = d.ApplyDiff(id, parent, graphdriver.ApplyDiffOpts{Diff: diff})
	return err
}

// inOrder does the steps, one after the other, in the directory.
func inOrder(dir string, steps []step) error {
	for _, s := range steps {
		if err := s.do(filepath.Join(dir, s.name)); err != nil {
			return fmt.Errorf("%s: %w", s.name, err)
		}
	}
	return touchAll(dir, steps)
}

// touchAll sets the times of all regular files that the steps named, so that
// all samples are alike.
func touchAll(dir string, steps []step) error {
	for _, s := range steps {
		file := filepath.Join(dir, s.name)
		fi, err := os.Lstat(file)
		if err == nil && fi.Mode().IsRegular() {
			err = os.Chtimes(file, sampleTime, sampleTime)
		}
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
	}
	return nil
}
