// Package cpio writes archives in the "newc" format, in which the Linux kernel
// takes an initramfs. The kernel's documentation describes the format in
// driver-api/early-userspace/buffer-format.
package cpio

import (
	"fmt"
	"io"
	"io/fs"
	"math"
)

// File type bits of a mode, as in stat(2).
const (
	typeDir     = 0o040000
	typeFile    = 0o100000
	typeSymlink = 0o120000
	typeChar    = 0o020000
)

// trailer is the name of the entry that ends an archive.
const trailer = "TRAILER!!!"

// A Writer writes an archive. Root owns everything in the archive, and all
// times are the epoch, so the same content always makes the same archive.
//
// Names are relative to the root of the archive, without a leading slash. The
// kernel makes no parent directories, so they must come first.
type Writer struct {
	w       io.Writer
	inode   uint32
	written int64
}

// NewWriter returns a Writer to w.
func NewWriter(w io.Writer) *Writer {
	return &Writer{w: w}
}

// Dir adds a directory.
func (w *Writer) Dir(name string, perm fs.FileMode) error {
	return w.header(entry{name: name, mode: typeDir | unixPerm(perm), links: 2})
}

// File adds a regular file that holds exactly size bytes, read from r.
func (w *Writer) File(name string, perm fs.FileMode, size int64, r io.Reader) error {
	if size < 0 || size > math.MaxUint32 {
		return fmt.Errorf("cpio: %s: a file of %d bytes doesn't fit the format", name, size)
	}
	e := entry{name: name, mode: typeFile | unixPerm(perm), links: 1, size: uint32(size)}
	if err := w.header(e); err != nil {
		return err
	}
	if n, err := io.CopyN(counter{w}, r, size); err != nil {
		return fmt.Errorf("cpio: %s: after %d of %d bytes: %w", name, n, size, err)
	}
	return w.pad()
}

// Symlink adds a symbolic link.
func (w *Writer) Symlink(name, target string) error {
	e := entry{name: name, mode: typeSymlink | 0o777, links: 1, size: uint32(len(target))}
	if err := w.header(e); err != nil {
		return err
	}
	if err := w.write([]byte(target)); err != nil {
		return err
	}
	return w.pad()
}

// CharDevice adds a character device.
func (w *Writer) CharDevice(name string, perm fs.FileMode, major, minor uint32) error {
	return w.header(entry{
		name: name, mode: typeChar | unixPerm(perm), links: 1, major: major, minor: minor,
	})
}

// Close writes the end of the archive. It doesn't close the underlying writer.
func (w *Writer) Close() error {
	w.inode = math.MaxUint32 // header adds one; the trailer's inode is 0
	return w.header(entry{name: trailer, links: 1})
}

// An entry is the part of a file that its header describes.
type entry struct {
	name         string
	mode         uint32
	links        uint32
	size         uint32
	major, minor uint32 // of a device
}

// header writes an entry's header and its name. Each entry gets its own inode
// number, because equal ones would make hard links.
func (w *Writer) header(e entry) error {
	w.inode++
	fields := [...]uint32{
		w.inode, e.mode, 0, 0, e.links, 0, e.size,
		0, 0, e.major, e.minor, uint32(len(e.name) + 1), 0,
	}
	head := []byte("070701")
	for _, field := range fields {
		head = fmt.Appendf(head, "%08X", field)
	}
	head = append(head, e.name...)
	head = append(head, 0)
	if err := w.write(head); err != nil {
		return err
	}
	return w.pad()
}

// pad pads the archive to a multiple of four bytes. Padding follows every name
// and every file's content.
func (w *Writer) pad() error {
	return w.write(make([]byte, (4-w.written%4)%4))
}

func (w *Writer) write(p []byte) error {
	if _, err := (counter{w}).Write(p); err != nil {
		return fmt.Errorf("cpio: %w", err)
	}
	return nil
}

// A counter writes to the archive of a Writer and counts the bytes.
type counter struct{ *Writer }

func (c counter) Write(p []byte) (int, error) {
	n, err := c.w.Write(p)
	c.written += int64(n)
	return n, err
}

// unixPerm converts permissions into mode bits, including the setuid, setgid and sticky bits.
func unixPerm(perm fs.FileMode) uint32 {
	mode := uint32(perm.Perm())
	for bit, unix := range map[fs.FileMode]uint32{
		fs.ModeSetuid: 0o4000, fs.ModeSetgid: 0o2000, fs.ModeSticky: 0o1000,
	} {
		if perm&bit != 0 {
			mode |= unix
		}
	}
	return mode
}
