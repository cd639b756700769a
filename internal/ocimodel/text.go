package ocimodel

import (
	"archive/tar"
	"bytes"
	"fmt"
	"io"
	"strings"
	"time"
)

// An Entry is an entry of an archive.
type Entry struct {
	// Name neither begins nor ends with '/'.
	Name string
	// Type is a Typeflag of a tar.Header.
	Type byte
	// Link is the target of a symbolic link, or the name of the entry whose file a hard link shares.
	Link     string
	Content  string
	Mode     int64
	UID, GID int
	// ModTime is in seconds since 1970.
	ModTime int64
}

// Parse reads a stack of archives, the lowest one first, with " | " between them. Blanks separate the entries of an archive:
//
//	d/       a directory
//	f        a file; also .wh.f, a whiteout, and .wh..wh..opq, the mark of an opaque directory
//	l->f     a symbolic link
//	h=f      a hard link to an entry before it
//	p!       a named pipe
//
// Each entry gets metadata of its own, which depends on its place.
func Parse(text string) [][]Entry {
	var stack [][]Entry
	for _, layer := range strings.Split(text, "|") {
		var entries []Entry
		for _, word := range strings.Fields(layer) {
			entries = append(entries, parseEntry(word, len(stack), entries))
		}
		stack = append(stack, entries)
	}
	return stack
}

func parseEntry(word string, layer int, before []Entry) Entry {
	id := 100*(layer+1) + len(before)
	e := Entry{Name: word, Type: tar.TypeReg, Mode: 0o640, UID: id, GID: id + 1, ModTime: int64(10_000 * id)}
	if name, target, ok := strings.Cut(word, "->"); ok {
		e.Name, e.Type, e.Link, e.Mode = name, tar.TypeSymlink, target, 0o777
		return e
	}
	if name, target, ok := strings.Cut(word, "="); ok {
		// The hard link is the same file, so that an archive has the same metadata for it.
		for _, other := range before {
			if other.Name == target {
				e = other
			}
		}
		e.Name, e.Type, e.Link, e.Content = name, tar.TypeLink, target, ""
		return e
	}
	if name, ok := strings.CutSuffix(word, "/"); ok {
		e.Name, e.Type, e.Mode = name, tar.TypeDir, 0o751
		return e
	}
	if name, ok := strings.CutSuffix(word, "!"); ok {
		e.Name, e.Type = name, tar.TypeFifo
		return e
	}
	if !strings.Contains(word, whiteoutPrefix) {
		e.Content = fmt.Sprint(word, " of ", id)
	}
	return e
}

// Archive returns the tar archive of entries.
func Archive(entries []Entry) ([]byte, error) {
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, e := range entries {
		h := &tar.Header{
			Name: e.Name, Typeflag: e.Type, Linkname: e.Link, Size: int64(len(e.Content)), Mode: e.Mode, Uid: e.UID, Gid: e.GID,
			ModTime: time.Unix(e.ModTime, 0),
		}
		if e.Type == tar.TypeDir {
			h.Name += "/"
		}
		if err := w.WriteHeader(h); err != nil {
			return nil, err
		}
		if _, err := io.WriteString(w, e.Content); err != nil {
			return nil, err
		}
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}
