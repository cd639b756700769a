//go:build linux

package aufs

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io/fs"
	"os"
	"sync"

	"golang.org/x/sys/unix"
)

// A dirent is an fs.DirEntry of what getdents64(2) says of a file. What package os does around that takes longer than to read a directory of
// a few files, of which each mount has to read several.
type dirent struct {
	dir  string // a path of the directory
	name string
	kind fs.FileMode
}

// Name implements fs.DirEntry.
func (e *dirent) Name() string { return e.name }

// IsDir implements fs.DirEntry.
func (e *dirent) IsDir() bool { return e.kind.IsDir() }

// Type implements fs.DirEntry.
func (e *dirent) Type() fs.FileMode { return e.kind }

// Info implements fs.DirEntry. It looks at what has the path now: of a file in a layer, openedDir.lstat is to be asked.
func (e *dirent) Info() (fs.FileInfo, error) { return os.Lstat(e.dir + "/" + e.name) }

// direntKinds are the types of files in a directory entry, DT_* (getdents(2)).
var direntKinds = map[byte]fs.FileMode{
	unix.DT_REG: 0, unix.DT_DIR: fs.ModeDir, unix.DT_LNK: fs.ModeSymlink, unix.DT_FIFO: fs.ModeNamedPipe, unix.DT_SOCK: fs.ModeSocket,
	unix.DT_BLK: fs.ModeDevice, unix.DT_CHR: fs.ModeDevice | fs.ModeCharDevice,
}

// Where the parts of a struct linux_dirent64 begin (getdents(2)).
const (
	direntLength = 16
	direntKind   = 18
	direntName   = 19
)

var direntBuffers = sync.Pool{New: func() any { return new([8 << 10]byte) }}

// listDir is os.ReadDir, in no order.
func listDir(dir string) ([]fs.DirEntry, error) {
	fd, err := retried(func() (int, error) { return unix.Open(dir, directoryFlags, 0) })
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: dir, Err: err}
	}
	opened := openedDir{fd: fd, path: dir}
	defer opened.close()
	return readDirents(opened)
}

// readDirents reads what is left to read of an open directory.
func readDirents(dir openedDir) (entries []fs.DirEntry, err error) {
	buffer := direntBuffers.Get().(*[8 << 10]byte) //nolint:forcetypeassert // nothing else is put there
	defer direntBuffers.Put(buffer)
	for {
		n, err := retried(func() (int, error) { return unix.Getdents(dir.fd, buffer[:]) })
		if err != nil {
			return nil, dir.failed("reading the directory", ".", err)
		}
		if n == 0 {
			return entries, nil
		}
		if entries, err = appendDirents(entries, dir, buffer[:n]); err != nil {
			return nil, err
		}
	}
}

// appendDirents adds what one call has returned.
func appendDirents(entries []fs.DirEntry, dir openedDir, read []byte) ([]fs.DirEntry, error) {
	// All names are pieces of one string.
	names := string(read)
	for at := 0; at < len(read); {
		length := int(binary.NativeEndian.Uint16(read[at+direntLength:]))
		begin := at + direntName
		end := begin + bytes.IndexByte(read[begin:at+length], 0)
		e := &dirent{dir: dir.path, name: names[begin:end]}
		kind, known := direntKinds[read[at+direntKind]]
		at += length
		if e.name == "." || e.name == ".." {
			continue
		}
		if e.kind = kind; !known {
			// Some file systems leave it to lstat(2).
			info, err := dir.lstat(e.name)
			if errors.Is(err, fs.ErrNotExist) {
				continue
			}
			if err != nil {
				return nil, err
			}
			e.kind = info.Mode().Type()
		}
		entries = append(entries, e)
	}
	return entries, nil
}
