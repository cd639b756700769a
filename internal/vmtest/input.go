//go:build linux

package main

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// inputDirs are the parts of Go's source tree that the example program gets as
// its input: a real tree of some thousand files.
func inputDirs() []string { return []string{"net", "runtime"} }

// makeInput makes a tar archive of inputDirs and returns its path.
func makeInput(ctx context.Context, dir string) (string, error) {
	goroot, err := command(ctx, "go", "env", "GOROOT").Output()
	if err != nil {
		return "", fmt.Errorf("go env GOROOT: %w", err)
	}
	src := filepath.Join(strings.TrimSpace(string(goroot)), "src")
	input := filepath.Join(dir, "input.tar")
	f, err := os.Create(input)
	if err != nil {
		return "", err
	}
	defer f.Close()
	w := tar.NewWriter(f)
	for _, sub := range inputDirs() {
		if err := tarTree(w, src, sub); err != nil {
			return "", err
		}
	}
	return input, errors.Join(w.Close(), f.Close())
}

// tarTree adds a directory and everything below it, by paths relative to root.
func tarTree(w *tar.Writer, root, dir string) error {
	return fs.WalkDir(os.DirFS(root), dir, func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		if !info.IsDir() && !info.Mode().IsRegular() {
			return nil
		}
		header, err := tar.FileInfoHeader(info, "")
		if err != nil {
			return err
		}
		header.Name = name
		header.Uname, header.Gname = "", "" // the guest doesn't know this host's names
		if info.IsDir() {
			header.Name += "/"
		}
		if err := w.WriteHeader(header); err != nil || info.IsDir() {
			return err
		}
		return copyFile(w, filepath.Join(root, name))
	})
}

func copyFile(w io.Writer, path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = io.Copy(w, f)
	return err
}
