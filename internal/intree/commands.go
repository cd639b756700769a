//go:build linux && (!exclude_graphdriver_aufs || ours)

package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"

	graphdriver "github.com/containers/storage/drivers"
	"github.com/containers/storage/pkg/archive"

	"github.com/seed-642172e2/aufs/internal/listing"
)

// command is a command, with the number of arguments that it takes.
type command struct {
	name     string
	min, max int
	run      func(d graphdriver.Driver, args []string) error
}

// many is the maximum for a command that takes any number of arguments.
const many = 1 << 30

var commands = []command{
	{"list", 0, 0, list},
	{"create", 1, 2, create},
	{"create-rw", 1, 2, createReadWrite},
	{"remove", 1, 1, removeLayer},
	{"apply", 1, 2, apply},
	{"diff", 1, 2, diff},
	{"changes", 1, 2, changes},
	{"tree", 1, 1, tree},
	{"run", 3, many, runProgram},
	{"write-sample", 0, 0, writeSample},
	{"pack", 0, 0, pack},
	{"cleanup", 0, 0, cleanup},
}

// takes reports whether the command takes n arguments.
func (c command) takes(n int) bool {
	return c.min <= n && n <= c.max
}

// parent returns the second argument, or "".
func parent(args []string) string {
	if len(args) < 2 {
		return ""
	}
	return args[1]
}

func list(d graphdriver.Driver, _ []string) error {
	ids, err := d.ListLayers()
	if err != nil {
		return err
	}
	slices.Sort(ids)
	for _, id := range ids {
		fmt.Println(id)
	}
	return nil
}

func create(d graphdriver.Driver, args []string) error {
	return d.Create(args[0], parent(args), nil)
}

func createReadWrite(d graphdriver.Driver, args []string) error {
	return d.CreateReadWrite(args[0], parent(args), nil)
}

func removeLayer(d graphdriver.Driver, args []string) error {
	return d.Remove(args[0])
}

func apply(d graphdriver.Driver, args []string) error {
	size, err := d.ApplyDiff(args[0], parent(args), graphdriver.ApplyDiffOpts{Diff: os.Stdin})
	if err != nil {
		return err
	}
	fmt.Println(size)
	return nil
}

func diff(d graphdriver.Driver, args []string) error {
	r, err := d.Diff(args[0], nil, parent(args), nil, "")
	if err != nil {
		return err
	}
	_, err = io.Copy(os.Stdout, r)
	return errors.Join(err, r.Close())
}

func changes(d graphdriver.Driver, args []string) error {
	all, err := d.Changes(args[0], nil, parent(args), nil, "")
	if err != nil {
		return err
	}
	lines := make([]string, 0, len(all))
	for _, c := range all {
		lines = append(lines, c.String())
	}
	slices.Sort(lines)
	for _, line := range lines {
		fmt.Println(line)
	}
	return nil
}

func tree(d graphdriver.Driver, args []string) error {
	return mounted(d, args[0], func(dir string) error {
		return listing.Write(os.Stdout, dir)
	})
}

func runProgram(d graphdriver.Driver, args []string) error {
	if args[1] != "--" {
		return fmt.Errorf("%w: no -- before the program", errUsage)
	}
	return mounted(d, args[0], func(dir string) error {
		cmd := exec.Command(args[2], args[3:]...)
		cmd.Dir = dir
		cmd.Env = append(os.Environ(), "MOUNT="+dir)
		cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
		return cmd.Run()
	})
}

// pack archives the store as it is on disk, with its whiteouts and aufs's own files.
func pack(d graphdriver.Driver, _ []string) error {
	home := ""
	for _, pair := range d.Status() {
		if pair[0] == "Root Dir" {
			home = pair[1]
		}
	}
	r, err := archive.TarWithOptions(home, &archive.TarOptions{Compression: archive.Uncompressed})
	if err != nil {
		return err
	}
	_, err = io.Copy(os.Stdout, r)
	return errors.Join(err, r.Close())
}

func cleanup(d graphdriver.Driver, _ []string) error {
	return d.Cleanup()
}

// mounted mounts the layer and calls do with the directory that shows it.
func mounted(d graphdriver.Driver, id string, do func(dir string) error) error {
	// The driver itself would return a path for a layer that does not exist.
	if !d.Exists(id) {
		return fmt.Errorf("layer %s: %w", id, os.ErrNotExist)
	}
	dir, err := d.Get(id, graphdriver.MountOpts{})
	if err != nil {
		return err
	}
	return errors.Join(do(dir), d.Put(id))
}
