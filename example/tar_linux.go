package main

import (
	"archive/tar"
	"fmt"
	"io"
	"os"
	"path"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/containers/storage/pkg/archive"
)

// writeLayer writes the items as an archive, in the form that a registry stores.
func writeLayer(w io.Writer, items []layerItem, written func(int64)) error {
	tw := tar.NewWriter(w)
	for _, item := range items {
		if err := writeItem(tw, item); err != nil {
			return fmt.Errorf("archive %s: %w", item.Path, err)
		}
		written(1)
	}
	return tw.Close()
}

// writeItem writes one member.
func writeItem(tw *tar.Writer, item layerItem) error {
	if err := tw.WriteHeader(tarHeader(item)); err != nil {
		return err
	}
	if item.Kind != kindFile || item.LinkRef != "" {
		return nil
	}
	if item.Source == "" {
		_, err := io.WriteString(tw, item.Text)
		return err
	}
	f, err := os.Open(item.Source)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = io.Copy(tw, f)
	return err
}

// tarHeader returns the header of an item. It is the inverse of entryFromHeader.
func tarHeader(item layerItem) *tar.Header {
	h := &tar.Header{
		Format:  tar.FormatPAX,
		Name:    item.Path,
		Mode:    int64(item.Mode),
		Uid:     item.UID,
		Gid:     item.GID,
		ModTime: time.Unix(item.Mtime, 0),
	}
	if item.LinkRef != "" {
		h.Typeflag, h.Linkname = tar.TypeLink, item.LinkRef
		return h
	}
	switch item.Kind {
	case kindDir:
		h.Typeflag, h.Name = tar.TypeDir, item.Path+"/"
	case kindSymlink:
		h.Typeflag, h.Linkname = tar.TypeSymlink, item.Target
	case kindFifo:
		h.Typeflag = tar.TypeFifo
	case kindChar:
		h.Typeflag = tar.TypeChar
	case kindBlock:
		h.Typeflag = tar.TypeBlock
	default:
		h.Typeflag, h.Size = tar.TypeReg, item.Size
	}
	h.Devmajor, h.Devminor = int64(unix.Major(item.Rdev)), int64(unix.Minor(item.Rdev))
	h.PAXRecords = map[string]string{}
	for key, value := range item.Xattrs {
		h.PAXRecords[archive.PaxSchilyXattr+key] = value
	}
	return h
}

// entryFromHeader returns the entry that an archive member describes. It is the
// inverse of tarHeader.
func entryFromHeader(h *tar.Header) entry {
	e := entry{
		Path:   path.Clean(h.Name),
		Kind:   kindFile,
		Mode:   uint32(h.Mode) & 0o7777,
		UID:    h.Uid,
		GID:    h.Gid,
		Mtime:  h.ModTime.Unix(),
		Target: h.Linkname,
		Rdev:   unix.Mkdev(uint32(h.Devmajor), uint32(h.Devminor)),
		Xattrs: map[string]string{},
	}
	kinds := map[byte]kind{
		tar.TypeDir: kindDir, tar.TypeSymlink: kindSymlink, tar.TypeFifo: kindFifo,
		tar.TypeChar: kindChar, tar.TypeBlock: kindBlock,
	}
	if k, ok := kinds[h.Typeflag]; ok {
		e.Kind = k
	}
	for key, value := range h.PAXRecords {
		if name, ok := strings.CutPrefix(key, archive.PaxSchilyXattr); ok {
			e.Xattrs[name] = value
		}
	}
	return e
}
