//go:build linux

package main

import (
	"bytes"
	"debug/elf"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"

	"github.com/containers/storage/pkg/archive"
	"github.com/seed-642172e2/aufs/internal/vmtest/cpio"
	"github.com/seed-642172e2/aufs/internal/vmtest/wire"
)

// wantedModules returns the names of the modules that the guest loads. A name
// that has no module file is skipped: the kernel has it built in.
func wantedModules(opts options) []string {
	// To find the algorithm of their checksums, file systems have the kernel
	// call modprobe, which the guest lacks. To use quotas, ext4 does the same. The
	// tests make loop devices with an ext4 or a squashfs on them.
	wanted := []string{"virtio_pci", "virtio_console", "crc32c_generic", "quota_v2", "ext4", "squashfs", "loop"}
	if opts.system != "" {
		wanted = append(wanted, "virtio_blk")
	}
	if hasDisk(opts.fs) {
		wanted = append(wanted, "virtio_blk")
		if opts.fs != "ext4" {
			wanted = append(wanted, opts.fs)
		}
	}
	return append(wanted, opts.backends...)
}

// A module is a file that the kernel can load.
type module struct {
	name    string
	content []byte
	depends []string
}

// modules maps the names of kernel modules to their files.
type modules map[string]string

// findModules looks for modules anywhere below dir. Dir may be an unpacked
// package: depmod(8) need not have run there.
func findModules(dir string) (modules, error) {
	found := modules{}
	root, err := filepath.EvalSymlinks(dir)
	if err != nil {
		return nil, err
	}
	err = filepath.WalkDir(root, func(file string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		name, ok := moduleName(file)
		if !ok {
			return nil
		}
		if other := found[name]; other != "" {
			return fmt.Errorf("%s and %s are one module: take the directory of a single kernel", other, file)
		}
		found[name] = file
		return nil
	})
	if err == nil && len(found) == 0 {
		err = fmt.Errorf("there is no kernel module below %s", dir)
	}
	return found, err
}

// moduleName returns the name of the module in a file, "ext4" for
// ".../ext4.ko.xz". The kernel treats '-' and '_' alike.
func moduleName(file string) (string, bool) {
	name, compression, ok := strings.Cut(filepath.Base(file), ".ko")
	known := compression == "" || compression == ".gz" || compression == ".xz" || compression == ".zst"
	return strings.ReplaceAll(name, "-", "_"), ok && known
}

// needed reads the wanted modules that exist and everything that they depend
// on. It returns them in an order in which the kernel can load them.
func (m modules) needed(wanted []string) ([]module, error) {
	var order []module
	seen := map[string]bool{}
	var add func(name string) error
	add = func(name string) error {
		file, ok := m[name]
		if !ok || seen[name] {
			return nil
		}
		seen[name] = true
		mod, err := readModule(name, file)
		if err != nil {
			return err
		}
		for _, dependency := range mod.depends {
			if err := add(dependency); err != nil {
				return err
			}
		}
		order = append(order, mod)
		return nil
	}
	for _, name := range wanted {
		if err := add(name); err != nil {
			return nil, err
		}
	}
	return order, nil
}

// readModule reads a module and decompresses it.
func readModule(name, file string) (module, error) {
	f, err := os.Open(file)
	if err != nil {
		return module{}, err
	}
	defer f.Close()
	plain, err := archive.DecompressStream(f)
	if err != nil {
		return module{}, fmt.Errorf("decompress %s: %w", file, err)
	}
	defer plain.Close()
	content, err := io.ReadAll(plain)
	if err != nil {
		return module{}, fmt.Errorf("decompress %s: %w", file, err)
	}
	depends, err := moduleDepends(content)
	if err != nil {
		return module{}, fmt.Errorf("%s: %w", file, err)
	}
	return module{name, content, depends}, nil
}

// moduleDepends returns the names of the modules that must be loaded first,
// which modinfo(8) shows as "depends".
func moduleDepends(content []byte) ([]string, error) {
	object, err := elf.NewFile(bytes.NewReader(content))
	if err != nil {
		return nil, err
	}
	section := object.Section(".modinfo")
	if section == nil {
		return nil, fmt.Errorf("no section .modinfo")
	}
	info, err := section.Data()
	if err != nil {
		return nil, err
	}
	for _, field := range strings.Split(string(info), "\x00") {
		if list, ok := strings.CutPrefix(field, "depends="); ok {
			return strings.FieldsFunc(strings.ReplaceAll(list, "-", "_"), func(r rune) bool { return r == ',' }), nil
		}
	}
	return nil, nil
}

// addModules adds the modules that the guest loads. It names them so that their
// names sort in the order of loading.
func addModules(w *cpio.Writer, opts options) error {
	if opts.modules == "" {
		return nil
	}
	found, err := findModules(opts.modules)
	if err != nil {
		return err
	}
	needed, err := found.needed(wantedModules(opts))
	if err != nil {
		return err
	}
	for i, mod := range needed {
		name := path.Join(rooted(wire.ModulesDir), fmt.Sprintf("%03d-%s.ko", i, mod.name))
		if err := w.File(name, 0o644, int64(len(mod.content)), bytes.NewReader(mod.content)); err != nil {
			return err
		}
	}
	return nil
}
