//go:build linux

package main

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"testing"
)

func TestTestImage(t *testing.T) {
	helpers := filepath.Join(t.TempDir(), "helpers.bash")
	for content, want := range map[string]string{
		"# x\nPODMAN_TEST_IMAGE_TAG=${PODMAN_TEST_IMAGE_TAG:-\"20241011\"}\nx\n": "quay.io/libpod/testimage:20241011",
		"PODMAN_TEST_IMAGE_NAME=x\n": "",
	} {
		if err := os.WriteFile(helpers, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		if got, err := testImage(helpers); got != want || (err == nil) != (want != "") {
			t.Errorf("%q: %q, %v", content, got, err)
		}
	}
}

func TestSystemTestFiles(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"010-images.bats", "500-networking.bats", "helpers.bash"} {
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	c := clients{tests: dir, testFiles: regexp.MustCompile("^010-")}
	if got, err := c.systemTestFiles(); err != nil || !slices.Equal(got, []string{filepath.Join(dir, "010-images.bats")}) {
		t.Errorf("%q, %v", got, err)
	}
	c.testFiles = regexp.MustCompile("^9")
	if got, err := c.systemTestFiles(); err == nil {
		t.Errorf("no file matches, and there is no error: %q", got)
	}
}
