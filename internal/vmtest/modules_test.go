//go:build linux

package main

import (
	"bytes"
	"compress/gzip"
	"debug/elf"
	"encoding/binary"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// objectWith returns an ELF object file with a section .modinfo and the section
// of names that every object file has.
func objectWith(t *testing.T, modinfo string) []byte {
	t.Helper()
	const names = "\x00.modinfo\x00.shstrtab\x00"
	const headerSize, sectionSize = 64, 64
	data := modinfo + names
	header := elf.Header64{
		Type: uint16(elf.ET_REL), Machine: uint16(elf.EM_X86_64), Version: uint32(elf.EV_CURRENT),
		Shoff: uint64(headerSize + len(data)), Ehsize: headerSize, Shentsize: sectionSize, Shnum: 3, Shstrndx: 2,
	}
	copy(header.Ident[:], elf.ELFMAG)
	header.Ident[elf.EI_CLASS] = byte(elf.ELFCLASS64)
	header.Ident[elf.EI_DATA] = byte(elf.ELFDATA2LSB)
	header.Ident[elf.EI_VERSION] = byte(elf.EV_CURRENT)
	sections := []elf.Section64{
		{},
		{Name: 1, Type: uint32(elf.SHT_PROGBITS), Off: headerSize, Size: uint64(len(modinfo))},
		{Name: 10, Type: uint32(elf.SHT_STRTAB), Off: uint64(headerSize + len(modinfo)), Size: uint64(len(names))},
	}
	var b bytes.Buffer
	for _, part := range []any{header, []byte(data), sections} {
		if err := binary.Write(&b, binary.LittleEndian, part); err != nil {
			t.Fatal(err)
		}
	}
	return b.Bytes()
}

func TestNeededModules(t *testing.T) {
	dir := t.TempDir()
	var packed bytes.Buffer
	z := gzip.NewWriter(&packed)
	if _, err := z.Write(objectWith(t, "license=GPL\x00depends=mbcache,jbd2\x00")); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	for name, content := range map[string][]byte{
		"kernel/fs/ext4/ext4.ko.gz": packed.Bytes(),
		"kernel/fs/jbd2/jbd2.ko":    objectWith(t, "depends=low-level\x00"),
		"kernel/lib/low-level.ko":   objectWith(t, "depends=\x00"),
		"kernel/fs/mbcache.ko":      objectWith(t, "license=GPL\x00"),
		"kernel/fs/xfs/xfs.ko":      []byte("not read"),
		"modules.builtin":           nil,
		"kernel/fs/notes.ko.txt":    nil,
	} {
		file := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	found, err := findModules(dir)
	if err != nil {
		t.Fatal(err)
	}
	needed, err := found.needed([]string{"virtio_blk", "ext4", "jbd2"})
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, mod := range needed {
		names = append(names, mod.name)
		if !bytes.HasPrefix(mod.content, []byte(elf.ELFMAG)) {
			t.Errorf("%s is not decompressed", mod.name)
		}
	}
	if want := []string{"mbcache", "low_level", "jbd2", "ext4"}; !slices.Equal(names, want) {
		t.Errorf("got %q, want %q", names, want)
	}
	if _, err := found.needed([]string{"xfs"}); err == nil || !strings.Contains(err.Error(), "xfs.ko") {
		t.Errorf("of a file that is no module: %v", err)
	}
}

func TestFindModulesOfTwoKernels(t *testing.T) {
	dir := t.TempDir()
	for _, kernel := range []string{"6.1", "6.12"} {
		if err := os.Mkdir(filepath.Join(dir, kernel), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, kernel, "ext4.ko"), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := findModules(dir); err == nil || !strings.Contains(err.Error(), "6.12/ext4.ko") {
		t.Errorf("%v", err)
	}
}

func TestFindModulesNone(t *testing.T) {
	if _, err := findModules(t.TempDir()); err == nil {
		t.Error("no error")
	}
}

func TestWantedModules(t *testing.T) {
	got := wantedModules(options{fs: "xfs", backends: []string{"overlay"}})
	want := []string{"virtio_pci", "virtio_console", "crc32c_generic", "quota_v2", "ext4", "squashfs", "loop", "virtio_blk", "xfs", "overlay"}
	if !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	if got := wantedModules(options{fs: "tmpfs"}); slices.Contains(got, "virtio_blk") {
		t.Errorf("got %q", got)
	}
}
