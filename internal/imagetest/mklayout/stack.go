package main

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"path"
	"strings"
	"time"
)

// The names of whiteouts, as in layer.md of the OCI image specification.
const (
	whiteoutPrefix = ".wh."
	opaqueMark     = ".wh..wh..opq"
)

// A stack writes the layers of an image, the lowest first. It knows what they
// show together, so that no layer deletes a file that does not exist. For each
// path, its methods also write the directories above it into the layer, as
// builders do.
//
// The first error sticks: after it a stack writes nothing, and layer returns it.
type stack struct {
	shown shown
	err   error

	// The fields below are about the layer that is being written.
	tw   *tar.Writer
	time time.Time
	own  map[string]bool // the paths in the layer
}

// layer writes one more layer to w. Fill adds the content.
func (s *stack) layer(w io.Writer, created time.Time, fill func(*stack)) error {
	s.tw, s.time, s.own = tar.NewWriter(w), created, map[string]bool{}
	fill(s)
	if s.err == nil {
		s.err = s.tw.Close()
	}
	return s.err
}

// fail records err, if it is the first error.
func (s *stack) fail(err error) {
	if s.err == nil {
		s.err = err
	}
}

// add writes one member. A directory that is already in the layer stays as it is.
func (s *stack) add(h tar.Header, content io.Reader) {
	name := path.Clean(h.Name)
	if s.own[name] {
		if h.Typeflag != tar.TypeDir {
			s.fail(fmt.Errorf("%s is in the layer twice", name))
		}
		return
	}
	s.parents(name)
	s.shown.put(name, h)
	s.write(h, content)
}

// write writes one member, whose directories must already be in the layer.
func (s *stack) write(h tar.Header, content io.Reader) {
	s.own[path.Clean(h.Name)] = true
	if s.err != nil {
		return
	}
	err := s.tw.WriteHeader(&h)
	if err == nil && h.Typeflag == tar.TypeReg {
		_, err = io.Copy(s.tw, content)
	}
	if err != nil {
		s.fail(fmt.Errorf("%s: %w", h.Name, err))
	}
}

// parents writes the directories above name that the layer does not have yet.
func (s *stack) parents(name string) {
	dir := path.Dir(name)
	if dir == "." || s.own[dir] {
		return
	}
	s.parents(dir)
	h, known := s.shown[dir]
	switch {
	case !known:
		h = tar.Header{Typeflag: tar.TypeDir, Mode: 0o755}
	case h.Typeflag != tar.TypeDir:
		s.fail(fmt.Errorf("%s is no directory, and %s is to be in it", dir, name))
	}
	// The directory's content changes, and so its time does.
	h.Name, h.ModTime = dir+"/", s.time
	s.shown.put(dir, h)
	s.write(h, nil)
}

// remove deletes the file or directory that the layers below show at name.
func (s *stack) remove(name string) {
	if _, there := s.shown[name]; !there {
		s.fail(fmt.Errorf("%s is to be deleted, and is not there", name))
	}
	s.parents(name)
	s.shown.forget(name)
	s.write(tar.Header{Name: path.Join(path.Dir(name), whiteoutPrefix+path.Base(name)), Typeflag: tar.TypeReg, ModTime: s.time},
		strings.NewReader(""))
}

// opaque makes the directory name opaque, which deletes everything that the
// layers below show in it. The layer's own content of the directory comes after
// that.
func (s *stack) opaque(name string) {
	if !s.shown.hasBelow(name) {
		s.fail(fmt.Errorf("%s is to be opaque, and nothing is in it", name))
	}
	mark := path.Join(name, opaqueMark)
	s.parents(mark)
	h := s.shown[name]
	s.shown.forget(name)
	s.shown.put(name, h)
	s.write(tar.Header{Name: mark, Typeflag: tar.TypeReg, ModTime: s.time}, strings.NewReader(""))
}

// dir makes a directory, or changes the mode of one.
func (s *stack) dir(name string, mode int64) {
	s.add(tar.Header{Name: name + "/", Typeflag: tar.TypeDir, Mode: mode, ModTime: s.time}, nil)
}

// file makes a file with the given text.
func (s *stack) file(name, text string) { s.special(tar.Header{Name: name, Mode: 0o644}, text) }

// special makes a file with the given text and header. It fills in the type,
// the size and a missing time.
func (s *stack) special(h tar.Header, text string) {
	h.Typeflag, h.Size = tar.TypeReg, int64(len(text))
	if h.ModTime.IsZero() {
		h.ModTime = s.time
	}
	s.add(h, strings.NewReader(text))
}

// symlink makes name a symbolic link to target.
func (s *stack) symlink(name, target string) {
	s.add(tar.Header{Name: name, Typeflag: tar.TypeSymlink, Linkname: target, Mode: 0o777, ModTime: s.time}, nil)
}

// link makes name another name of the file old, which must be in this layer.
func (s *stack) link(name, old string) {
	if !s.own[old] {
		s.fail(errors.New("a hard link to " + old + ", which is not in the layer"))
	}
	h := s.shown[old]
	h.Name, h.Typeflag, h.Linkname, h.Size = name, tar.TypeLink, old, 0
	s.add(h, nil)
}

// node makes a device or a fifo.
func (s *stack) node(name string, typeflag byte, major, minor int64) {
	s.add(tar.Header{
		Name: name, Typeflag: typeflag, Mode: 0o666, Devmajor: major, Devminor: minor, ModTime: s.time,
	}, nil)
}
