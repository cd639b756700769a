//go:build linux && (!exclude_graphdriver_aufs || ours)

package main

import (
	"archive/tar"
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// sampleTime is the modification time of every regular file in the sample.
var sampleTime = time.Unix(1_600_000_000, 0)

// step is one change in a directory tree.
type step struct {
	name string                  // In the tree.
	do   func(name string) error // Takes a path that can be opened.
}

func mkdir(name string, mode uint32) step {
	return step{name, func(name string) error {
		if err := os.Mkdir(name, 0o700); err != nil {
			return err
		}
		return unix.Chmod(name, mode)
	}}
}

func write(name, text string) step {
	return step{name, func(name string) error { return os.WriteFile(name, []byte(text), 0o644) }}
}

func chmod(name string, mode uint32) step {
	return step{name, func(name string) error { return unix.Chmod(name, mode) }}
}

func chown(name string, uid, gid int) step {
	return step{name, func(name string) error { return os.Lchown(name, uid, gid) }}
}

// link gives the file another name. Both arguments are paths in the tree.
func link(name, other string) step {
	return step{name, func(file string) error {
		return os.Link(file, filepath.Join(strings.TrimSuffix(file, name), other))
	}}
}

func rename(name, other string) step {
	return step{name, func(file string) error {
		return os.Rename(file, filepath.Join(strings.TrimSuffix(file, name), other))
	}}
}

func symlink(target, name string) step {
	return step{name, func(name string) error { return os.Symlink(target, name) }}
}

func remove(name string) step {
	return step{name, os.RemoveAll}
}

func fifo(name string) step {
	return step{name, func(name string) error { return unix.Mkfifo(name, 0o600) }}
}

func device(name string, rdev uint64) step {
	return step{name, func(name string) error { return unix.Mknod(name, unix.S_IFCHR|0o600, int(rdev)) }}
}

// setXattr does nothing if the file system has no user attributes.
func setXattr(name, value string) step {
	return step{name, func(name string) error {
		err := unix.Lsetxattr(name, "user.sample", []byte(value), 0)
		if errors.Is(err, unix.ENOTSUP) {
			return nil
		}
		return err
	}}
}

// setCapability gives the file CAP_NET_RAW, permitted and effective. The value
// is a struct vfs_cap_data, version 2, as in linux/capability.h.
func setCapability(name string) step {
	value := make([]byte, 20)
	copy(value, "\x01\x00\x00\x02\x00\x20")
	return step{name, func(name string) error { return unix.Lsetxattr(name, "security.capability", value, 0) }}
}

// member is a member of an archive: a directory if its name ends in a slash, otherwise a file.
type member struct {
	name, text string
}

// archiveOf makes an archive.
func archiveOf(members []member) (*bytes.Buffer, error) {
	var b bytes.Buffer
	tw := tar.NewWriter(&b)
	for _, m := range members {
		h := &tar.Header{Name: m.name, Typeflag: tar.TypeReg, Mode: 0o644, Size: int64(len(m.text)), ModTime: sampleTime}
		if strings.HasSuffix(m.name, "/") {
			h.Typeflag, h.Mode = tar.TypeDir, 0o755
		}
		if err := tw.WriteHeader(h); err != nil {
			return nil, err
		}
		if _, err := io.WriteString(tw, m.text); err != nil {
			return nil, err
		}
	}
	return &b, tw.Close()
}
