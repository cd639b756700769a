//go:build linux

package main

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"

	"github.com/seed-642172e2/aufs/internal/vmtest/cpio"
	"github.com/seed-642172e2/aufs/internal/vmtest/wire"
)

// initramfs is the name of the archive in the temporary directory.
const initramfs = "initramfs.gz"

// makeInitramfs makes the archive from which the guest's kernel starts.
func makeInitramfs(ctx context.Context, dir string, opts options) error {
	f, err := os.Create(filepath.Join(dir, initramfs))
	if err != nil {
		return err
	}
	defer f.Close()
	z, err := gzip.NewWriterLevel(f, gzip.BestSpeed)
	if err != nil {
		return err
	}
	w := cpio.NewWriter(z)
	err = errors.Join(
		addSystem(w),
		addPrograms(w, dir, opts),
		addPlan(w, opts),
		addInput(ctx, w, dir, opts),
		addWorkDirs(w, opts),
		addImage(w, opts),
		addModules(w, opts),
		w.Close(),
		z.Close(),
		f.Close())
	if err != nil {
		return fmt.Errorf("make the initramfs: %w", err)
	}
	return nil
}

// addSystem adds the files and directories that every guest needs.
func addSystem(w *cpio.Writer) error {
	var errs []error
	for _, dir := range []string{
		"bin", "dev", "etc", "newroot", "proc", "root", "run", "sys", "var", "var/tmp",
		rooted(wire.TmpDir), rooted(wire.TestDir), rooted(wire.ModulesDir),
	} {
		errs = append(errs, w.Dir(dir, 0o755))
	}
	// The kernel opens the console for init, before anything can mount devtmpfs.
	errs = append(errs, w.CharDevice("dev/console", 0o600, 5, 1))
	for name, content := range map[string]string{
		"etc/passwd": "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n",
		"etc/group":  "root:x:0:\nnogroup:x:65534:\n",
	} {
		errs = append(errs, w.File(name, 0o644, int64(len(content)), strings.NewReader(content)))
	}
	return errors.Join(errs...)
}

func addPrograms(w *cpio.Writer, dir string, opts options) error {
	errs := []error{addFile(w, "bin/busybox", opts.busybox, 0o755)}
	if opts.auplink != "" {
		errs = append(errs, addFile(w, "bin/auplink", opts.auplink, 0o755))
	}
	for _, p := range opts.programs() {
		errs = append(errs, addFile(w, rooted(p.path), p.file(dir), 0o755))
	}
	return errors.Join(errs...)
}

func addPlan(w *cpio.Writer, opts options) error {
	var suites []wire.Suite
	for _, suite := range opts.suites() {
		suites = append(suites, suite.Suite)
	}
	plan, err := json.Marshal(wire.Plan{
		Suites:   suites,
		Examples: opts.examples(),
		FS:       opts.fs,
		Backends: opts.backends,
		Run:      opts.run,
		// The rest of the time is for the boot and the example. Go's own timeout shows
		// where a test hangs; the host's timeout cannot.
		TestTimeout: opts.timeout * 3 / 4,
		Sequences:   opts.sequences,
		Steps:       opts.steps,
		Stress:      opts.stress,
		Deny:        opts.deny,
		Seed:        opts.seed,
		Bench:       opts.benchPlan(),
		System:      opts.systemPlan(),
	})
	if err != nil {
		return err
	}
	return w.File(rooted(wire.PlanPath), 0o644, int64(len(plan)), bytes.NewReader(plan))
}

// addInput adds the input of the example, if the example is in the guest.
func addInput(ctx context.Context, w *cpio.Writer, dir string, opts options) error {
	if !opts.runsTests() {
		return nil
	}
	input, err := makeInput(ctx, dir)
	if err != nil {
		return fmt.Errorf("make the example's input: %w", err)
	}
	return addFile(w, rooted(wire.InputPath), input, 0o644)
}

// addWorkDirs adds the working directory of each suite, with its package's testdata.
func addWorkDirs(w *cpio.Writer, opts options) error {
	for _, suite := range opts.suites() {
		if err := w.Dir(rooted(suite.WorkDir()), 0o755); err != nil {
			return err
		}
		// The podman module's testdata is a symbolic link.
		testdata, err := filepath.EvalSymlinks(filepath.Join(suite.dir, "testdata"))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return err
		}
		if err := addTree(w, testdata, path.Join(suite.WorkDir(), "testdata")); err != nil {
			return err
		}
	}
	return nil
}

// addImage adds the layout for the tests with real images.
func addImage(w *cpio.Writer, opts options) error {
	if opts.image == "" {
		return nil
	}
	return addTree(w, opts.image, wire.ImagePath)
}

// addTree adds the directory root and everything in it, at the path target in the guest.
func addTree(w *cpio.Writer, root, target string) error {
	return filepath.WalkDir(root, func(file string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(root, file)
		if err != nil {
			return err
		}
		name := rooted(path.Join(target, filepath.ToSlash(rel)))
		switch d.Type() {
		case fs.ModeDir:
			return w.Dir(name, info.Mode())
		case fs.ModeSymlink:
			target, err := os.Readlink(file)
			if err != nil {
				return err
			}
			return w.Symlink(name, target)
		default:
			return addFile(w, name, file, info.Mode())
		}
	})
}

func addFile(w *cpio.Writer, name, file string, perm fs.FileMode) error {
	f, err := os.Open(file)
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	return w.File(name, perm, info.Size(), f)
}

// rooted returns a path of the guest in the form that package cpio expects.
func rooted(name string) string { return strings.TrimPrefix(name, "/") }
