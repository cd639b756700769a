//go:build linux

package aufs_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"os"
	"path/filepath"
	"strings"

	graphdriver "github.com/containers/storage/drivers"
	"github.com/containers/storage/pkg/reexec"
	"github.com/seed-642172e2/aufs"
)

// A program opens a store by the name of the driver, which importing the package has registered. This one makes a layer on top of another
// one, mounts it and writes to it. It has to run as root.
func Example() {
	// First of all: the storage library starts children of this program.
	if reexec.Init() {
		return
	}
	driver, err := graphdriver.GetDriver("aufs", graphdriver.Options{
		Root:    "/var/lib/containers/storage", // the store is in its directory aufs
		RunRoot: "/run/containers/storage",
		DriverOptions: []string{
			"backend=auto", // overlayfs, if the kernel has no aufs
			"mountopt=nodev,nosuid",
		},
	})
	if err != nil {
		log.Fatal(err) // It says what the host lacks, or which option is wrong.
	}
	if err := driver.Create("base", "", nil); err != nil {
		log.Fatal(err)
	}
	if err := driver.CreateReadWrite("container", "base", nil); err != nil {
		log.Fatal(err)
	}
	dir, err := driver.Get("container", graphdriver.MountOpts{})
	if err != nil {
		log.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "file"), []byte("content"), 0o644); err != nil {
		log.Print(err)
	}
	var busy *aufs.BusyError
	if err := driver.Put("container"); errors.As(err, &busy) {
		log.Printf("somebody uses the layer: %v", busy)
	} else if err != nil {
		log.Print(err)
	}
}

// makeStore makes a store in a temporary directory, with one layer and the directory of a layer that does not exist. home is the directory
// that Check, Repair and Convert want: <graph root>/aufs.
func makeStore() (home string, remove func()) {
	root, err := os.MkdirTemp("", "aufs-example-")
	if err != nil {
		log.Fatal(err)
	}
	home = filepath.Join(root, "aufs")
	for _, dir := range []string{"layers", "diff/base/etc", "diff/stray", "mnt/base"} {
		if err := os.MkdirAll(filepath.Join(home, dir), 0o755); err != nil {
			log.Fatal(err)
		}
	}
	// A layer exists when this file does. It is empty for a layer without a parent.
	if err := os.WriteFile(filepath.Join(home, "layers", "base"), nil, 0o644); err != nil {
		log.Fatal(err)
	}
	return home, func() { _ = os.RemoveAll(root) }
}

// The store has a directory of a layer that does not exist. Check reports it, and changes nothing.
func ExampleCheck() {
	home, remove := makeStore()
	defer remove()

	problems, err := aufs.Check(context.Background(), home)
	if err != nil {
		fmt.Println("a part of the store cannot be looked at:", err)
	}
	for _, p := range problems {
		fmt.Printf("%s: %s: %s\n", p.Kind, strings.TrimPrefix(p.Path, home+"/"), p.Detail)
	}
	// Output:
	// orphan: diff/stray: there is no such layer
}

// Repair removes what belongs to no layer, and returns the problems that are left.
func ExampleRepair() {
	home, remove := makeStore()
	defer remove()

	problems, err := aufs.Repair(context.Background(), home)
	fmt.Println(len(problems), "problems are left, error", err)
	layers, err := os.ReadDir(filepath.Join(home, "diff"))
	for _, layer := range layers {
		fmt.Println("still there:", layer.Name())
	}
	fmt.Println("error", err)
	// Output:
	// 0 problems are left, error <nil>
	// still there: base
	// error <nil>
}

// After Convert, the storage library's own aufs driver can use the store.
func ExampleConvert() {
	home, remove := makeStore()
	defer remove()

	err := aufs.Convert(context.Background(), home)
	var busy *aufs.BusyError
	switch {
	case err == nil:
		fmt.Println("all layers are in aufs form")
	case errors.As(err, &busy):
		fmt.Println("some layers are mounted:", err)
	default:
		fmt.Println("some layers are not converted:", err)
	}
	// Output:
	// all layers are in aufs form
}
