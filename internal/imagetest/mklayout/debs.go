package main

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/seed-642172e2/aufs/internal/imagetest/layout"
)

// install adds the files of packages. The packages' .deb files are in the directory debs.
func (s *stack) install(debs string, names []string) {
	for _, name := range names {
		file, err := findDeb(debs, name)
		if err == nil {
			err = readDeb(file, s.unpack)
		}
		if err != nil {
			s.fail(fmt.Errorf("package %s: %w", name, err))
			return
		}
	}
}

// findDeb returns the .deb file of a package. "apt-get download" names these files.
func findDeb(dir, name string) (string, error) {
	files, err := filepath.Glob(filepath.Join(dir, name+"_*.deb"))
	if err == nil && len(files) != 1 {
		err = fmt.Errorf("%s has %d .deb files of it, and should have one", dir, len(files))
	}
	if err != nil {
		return "", err
	}
	return files[0], nil
}

// readDeb calls add with each member of the archive of files in a .deb file,
// until add returns an error.
func readDeb(file string, add func(*tar.Header, io.Reader) error) error {
	cmd := exec.Command("dpkg-deb", "--fsys-tarfile", file)
	var said bytes.Buffer
	cmd.Stderr = &said
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	err = layout.EachMember(out, add)
	if err != nil {
		// Close the pipe, or dpkg-deb would wait for a reader.
		return errors.Join(err, out.Close(), ignoreStatus(cmd.Wait()))
	}
	if err := cmd.Wait(); err != nil {
		return fmt.Errorf("%w: %s", err, said.String())
	}
	return nil
}

// ignoreStatus drops the error of a failed program: the program could not go on writing.
func ignoreStatus(err error) error {
	var status *exec.ExitError
	if errors.As(err, &status) {
		return nil
	}
	return err
}

// unpack adds a member of a package.
func (s *stack) unpack(h *tar.Header, content io.Reader) error {
	moved := *h
	moved.Name = merge(h.Name)
	if h.Typeflag == tar.TypeLink {
		moved.Linkname = merge(h.Linkname)
	}
	if wanted(moved.Name) {
		s.add(moved, content)
	}
	return s.err
}

// wanted reports whether the image gets the file. It leaves out large files
// that no program here reads.
func wanted(name string) bool {
	for _, dir := range []string{"info", "lintian", "locale", "man"} {
		if strings.HasPrefix(name, "./usr/share/"+dir+"/") {
			return false
		}
	}
	return true
}
