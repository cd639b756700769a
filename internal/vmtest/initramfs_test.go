//go:build linux

package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/seed-642172e2/aufs/internal/vmtest/cpio"
)

// writeFiles writes files below the working directory, and makes their directories.
func writeFiles(t *testing.T, files map[string]string) {
	t.Helper()
	for name, content := range files {
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

func TestAddWorkDirs(t *testing.T) {
	t.Chdir(t.TempDir())
	writeFiles(t, map[string]string{"testdata/deep/file": "", "podman/go.mod": ""})
	if err := os.Symlink("../testdata", "podman/testdata"); err != nil {
		t.Fatal(err)
	}
	var archive bytes.Buffer
	opts := options{image: "dir", libraries: libraryNames()}
	if err := addWorkDirs(cpio.NewWriter(&archive), opts); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"pkg/driver/testdata/deep/file\x00", "pkg/podman-driver/testdata/deep/file\x00", "pkg/images\x00",
	} {
		if strings.Count(archive.String(), want) != 1 {
			t.Errorf("%q is not once in the archive", want)
		}
	}
	if strings.Contains(archive.String(), "pkg/images/testdata") {
		t.Error("a package without testdata has some")
	}
}
