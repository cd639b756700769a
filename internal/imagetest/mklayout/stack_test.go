package main

import (
	"archive/tar"
	"bytes"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/seed-642172e2/aufs/internal/imagetest/layout"
)

// namesOf returns the names of a layer's members.
func namesOf(t *testing.T, s *stack, fill func(*stack)) []string {
	t.Helper()
	var out bytes.Buffer
	if err := s.layer(&out, layerTime(0), fill); err != nil {
		t.Fatal(err)
	}
	var names []string
	err := layout.EachMember(&out, func(h *tar.Header, _ io.Reader) error {
		names = append(names, h.Name)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return names
}

func TestLayersHaveParentsAndWhiteouts(t *testing.T) {
	s := &stack{shown: shown{}}
	for _, c := range []struct {
		fill func(*stack)
		want []string
	}{
		{func(s *stack) {
			s.file("a/b/file", "1")
			s.file("a/b/other", "2")
			s.link("a/link", "a/b/file")
		}, []string{"a/", "a/b/", "a/b/file", "a/b/other", "a/link"}},
		{func(s *stack) {
			s.remove("a/link")
			s.opaque("a/b")
			s.file("a/b/file", "3")
		}, []string{"a/", "a/.wh.link", "a/b/", "a/b/.wh..wh..opq", "a/b/file"}},
		{func(s *stack) { s.symlink("a/b", "c") }, []string{"a/", "a/b"}},
		{func(s *stack) { s.file("a/link", "back") }, []string{"a/", "a/link"}},
	} {
		if got := namesOf(t, s, c.fill); !slices.Equal(got, c.want) {
			t.Errorf("the layer has %q, and should have %q", got, c.want)
		}
	}
}

func TestLayersThatMeanNothing(t *testing.T) {
	for name, fill := range map[string]func(*stack){
		"is not there":            func(s *stack) { s.remove("a/gone") },
		"nothing is in it":        func(s *stack) { s.opaque("a/empty") },
		"is no directory":         func(s *stack) { s.file("a/file/below", "") },
		"twice":                   func(s *stack) { s.file("a/new", ""); s.file("a/new", "") },
		"which is not in the lay": func(s *stack) { s.link("a/link", "a/file") },
	} {
		s := &stack{shown: shown{}}
		namesOf(t, s, func(s *stack) {
			s.file("a/file", "")
			s.dir("a/empty", 0o755)
		})
		err := s.layer(io.Discard, layerTime(1), fill)
		if err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("the error is %v, and should say %q", err, name)
		}
	}
}

func TestErrorsStick(t *testing.T) {
	first := errors.New("first")
	s := &stack{shown: shown{}}
	err := s.layer(io.Discard, layerTime(0), func(s *stack) {
		s.fail(first)
		s.remove("a")
	})
	if !errors.Is(err, first) {
		t.Errorf("the error is %v, and should be %v", err, first)
	}
}

func TestMerge(t *testing.T) {
	for name, want := range map[string]string{
		"./":              "./",
		"./bin/":          "./usr/bin/",
		"./lib64/ld.so":   "./usr/lib64/ld.so",
		"./library/":      "./library/",
		"./usr/lib/x":     "./usr/lib/x",
		"./etc/bin/thing": "./etc/bin/thing",
	} {
		if got := merge(name); got != want {
			t.Errorf("%q becomes %q, and should be %q", name, got, want)
		}
	}
}
