package main

import (
	"archive/tar"
	"strings"
)

// shown is what the layers so far show together, by path.
type shown map[string]tar.Header

// put replaces whatever is at the path by a file or directory. A directory that
// replaces a directory keeps the old content.
func (s shown) put(name string, h tar.Header) {
	if h.Typeflag != tar.TypeDir || s[name].Typeflag != tar.TypeDir {
		s.forget(name)
	}
	s[name] = h
}

// forget removes a path and everything below it.
func (s shown) forget(name string) {
	delete(s, name)
	for other := range s {
		if strings.HasPrefix(other, name+"/") {
			delete(s, other)
		}
	}
}

// hasBelow reports whether there is anything below a path.
func (s shown) hasBelow(name string) bool {
	for other := range s {
		if strings.HasPrefix(other, name+"/") {
			return true
		}
	}
	return false
}
