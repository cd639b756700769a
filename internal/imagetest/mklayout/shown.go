package main

import (
	"archive/tar"
	"strings"
)

// shown is what the layers so far show together, by the path.
type shown map[string]tar.Header

// put puts a file or directory in the place of whatever is there. A directory
// over a directory leaves alone what is in it.
func (s shown) put(name string, h tar.Header) {
	if h.Typeflag != tar.TypeDir || s[name].Typeflag != tar.TypeDir {
		s.forget(name)
	}
	s[name] = h
}

// forget takes a path away with all that is below it.
func (s shown) forget(name string) {
	delete(s, name)
	for other := range s {
		if strings.HasPrefix(other, name+"/") {
			delete(s, other)
		}
	}
}

// hasBelow tells if there is anything below a path.
func (s shown) hasBelow(name string) bool {
	for other := range s {
		if strings.HasPrefix(other, name+"/") {
			return true
		}
	}
	return false
}
