package main

import (
	"archive/tar"
	"strings"
	"time"
)

// Names for the layer odd. aufs accepts names of up to 242 bytes.
const (
	notUTF8  = "caf\xe9"
	fifty    = "01234567890123456789012345678901234567890123456789"
	longName = "long-" + fifty + fifty + fifty + fifty
	longDir  = fifty + "/" + fifty + "/" + fifty + "/" + fifty + "/" + fifty + "/" + fifty
)

// xattr is the prefix of an extended attribute in a header.
const xattr = "SCHILY.xattr."

// capNetRaw gives a file CAP_NET_RAW, permitted and effective. It is a struct
// vfs_cap_data, version 2, as in linux/capability.h.
const capNetRaw = "\x01\x00\x00\x02\x00\x20\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"

// odd makes everything that an archive can hold and packages rarely do.
func odd(s *stack) {
	hardLinks(s)
	attributes(s)
	nodes(s)
	names(s)
	symlinks(s)
	s.file("opt/odd/empty", "")
	const megabyte = 1 << 20
	s.file("opt/odd/large", "begin\n"+strings.Repeat("\x00", 4*megabyte)+"end\n")
	s.special(tar.Header{Name: "opt/odd/old", Mode: 0o644, ModTime: time.Unix(0, 0)}, "as old as can be\n")
}

// hardLinks makes files with several names, in several directories.
func hardLinks(s *stack) {
	s.file("opt/links/a", "one file\n")
	s.link("opt/links/b", "opt/links/a")
	s.link("opt/links/sub/c", "opt/links/a")
	s.link("var/lib/linked", "opt/links/a")
	s.file("opt/links/pair", "another\n")
	s.link("opt/links/sub/pair", "opt/links/pair")
	s.symlink("opt/links/symlink", "a")
	s.link("opt/links/sub/symlink", "opt/links/symlink")
}

// attributes makes files that have more than content.
func attributes(s *stack) {
	special := func(name string, mode int64, uid, gid int, attributes map[string]string) {
		h := tar.Header{Name: name, Mode: mode, Uid: uid, Gid: gid, PAXRecords: map[string]string{}}
		for key, value := range attributes {
			h.PAXRecords[xattr+key] = value
		}
		s.special(h, name+"\n")
	}
	special("opt/odd/attributed", 0o644, 0, 0, map[string]string{"user.note": "noted", "user.bytes": "\x00\xff\n"})
	special("opt/odd/plain", 0o4751, 1000, 1000, map[string]string{"user.note": "to be gone"})
	special("usr/local/bin/ping", 0o755, 0, 0, map[string]string{"security.capability": capNetRaw})
	special("usr/local/bin/su", 0o4755, 0, 0, nil)
	special("usr/local/bin/write", 0o2755, 0, 5, nil)
	special("opt/odd/nobody", 0o640, 65534, 65534, nil)
	// These ids do not fit into the old field of the header.
	special("opt/odd/far", 0o600, 3_000_000, 3_000_001, nil)
	special("opt/odd/unreadable", 0, 0, 0, nil)
	s.dir("opt/odd/closed", 0)
	s.file("opt/odd/closed/file", "closed\n")
	s.dir("opt/odd/shared", 0o2775)
	s.dir("opt/odd/sticky", 0o1777)
	s.add(tar.Header{
		Name: "opt/odd/noted/", Typeflag: tar.TypeDir, Mode: 0o750, Uid: 8, Gid: 9, ModTime: s.time,
		PAXRecords: map[string]string{xattr + "user.note": "a directory's"},
	}, nil)
}

// nodes makes devices and fifos, but no character device 0/0, which is a whiteout to overlayfs.
func nodes(s *stack) {
	s.node("dev/null", tar.TypeChar, 1, 3)
	s.node("dev/zero", tar.TypeChar, 1, 5)
	s.node("opt/odd/block", tar.TypeBlock, 7, 200)
	s.node("opt/odd/fifo", tar.TypeFifo, 0, 0)
	s.node("opt/odd/deleted-fifo", tar.TypeFifo, 0, 0)
}

// names makes files with difficult names.
func names(s *stack) {
	for _, name := range []string{
		notUTF8, "deleted-" + notUTF8, "grün", "two\nlines", "-rf *", `back\slash "quoted"`, ".wh", ".whale", longName,
	} {
		s.file("opt/odd/"+name, "named\n")
	}
	// Archives can write such names in two ways. The names above are PAX records.
	gnu := func(name string) {
		s.special(tar.Header{Name: "opt/odd/gnu-" + name, Mode: 0o644, Format: tar.FormatGNU}, "named\n")
	}
	gnu(notUTF8)
	gnu(longName)
	s.file("opt/odd/deep/"+longDir+"/file", "deep\n")
}

// symlinks makes symbolic links that lead nowhere, or far away.
func symlinks(s *stack) {
	s.symlink("opt/odd/absolute", "/etc/passwd")
	s.symlink("opt/odd/dangling", "nowhere/at all")
	s.symlink("opt/odd/deleted-dangling", "nowhere")
	s.symlink("opt/odd/loop", "loop")
	s.symlink("opt/odd/far-up", "../../../../../../etc")
	s.symlink("opt/odd/long", "/opt/odd/deep/"+longDir+"/file")
}
