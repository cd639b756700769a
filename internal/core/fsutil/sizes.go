//go:build linux

package fsutil

import (
	"io/fs"
)

// Sizes add up files, each of them once, whatever names it has.
type Sizes struct {
	Sum, Inodes int64
	seen        map[uint64]bool // of those that have several
}

// Add counts one file.
func (s *Sizes) Add(info fs.FileInfo) {
	if st := StatOf(info); !info.IsDir() && st.Nlink > 1 {
		if s.seen[st.Ino] {
			return
		}
		if s.seen == nil {
			s.seen = map[uint64]bool{}
		}
		s.seen[st.Ino] = true
	}
	s.Inodes++
	// What a directory takes depends on the file system more than on the layer.
	if !info.IsDir() {
		s.Sum += info.Size()
	}
}
