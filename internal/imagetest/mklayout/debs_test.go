package main

import (
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/seed-642172e2/aufs/internal/imagetest/layout"
)

// makeDeb makes a package with a program in /bin and a manual page.
func makeDeb(t *testing.T, file string) {
	t.Helper()
	if _, err := exec.LookPath("dpkg-deb"); err != nil {
		t.Skip(err)
	}
	root := t.TempDir()
	for name, text := range map[string]string{
		"DEBIAN/control":      "Package: tiny\nVersion: 1\nArchitecture: all\nMaintainer: Nobody <nobody@example.org>\nDescription: tiny\n",
		"bin/tiny":            "#!/bin/sh\n",
		"usr/share/man/tiny":  "a page\n",
		"usr/share/tiny/data": "data\n",
	} {
		path := filepath.Join(root, name)
		must(t, os.MkdirAll(filepath.Dir(path), 0o755))
		must(t, os.WriteFile(path, []byte(text), 0o644))
	}
	out, err := exec.Command("dpkg-deb", "--root-owner-group", "-b", root, file).CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
}

func TestInstall(t *testing.T) {
	debs := t.TempDir()
	makeDeb(t, filepath.Join(debs, "tiny_1_all.deb"))
	got := namesOf(t, &stack{shown: shown{}}, func(s *stack) { s.install(debs, []string{"tiny"}) })
	want := []string{"./", "./usr/bin/", "./usr/bin/tiny", "./usr/share/", "./usr/share/tiny/", "./usr/share/tiny/data"}
	for _, name := range want {
		if !slices.Contains(got, name) {
			t.Errorf("%s is not in %q", name, got)
		}
	}
	for _, name := range got {
		if strings.HasPrefix(name, "./bin") || strings.Contains(name, "/man/") {
			t.Errorf("%s should not be there", name)
		}
	}
}

func TestInstallSaysWhichPackageIsMissing(t *testing.T) {
	debs := t.TempDir()
	must(t, os.WriteFile(filepath.Join(debs, "broken_1_all.deb"), []byte("no package"), 0o644))
	for name, want := range map[string]string{"absent": "0 .deb files", "broken": "dpkg-deb"} {
		err := (&stack{shown: shown{}}).layer(io.Discard, layerTime(0), func(s *stack) { s.install(debs, []string{name}) })
		if err == nil || !strings.Contains(err.Error(), name) || !strings.Contains(err.Error(), want) {
			t.Errorf("the error is %v, and should name %s and say %q", err, name, want)
		}
	}
}

func TestLayoutIsTheSameEachTime(t *testing.T) {
	var made []*layout.Image
	for _, name := range []string{"one", "two"} {
		dir := filepath.Join(t.TempDir(), name)
		must(t, writeLayout(dir, []layer{{"odd", odd}, {"nothing", func(*stack) {}}}))
		image, err := layout.Open(dir)
		must(t, err)
		must(t, image.Verify())
		made = append(made, image)
	}
	if made[0].Digest != made[1].Digest || len(made[0].Manifest.Layers) != 2 {
		t.Errorf("%+v and %+v", made[0], made[1])
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
