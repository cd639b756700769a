//go:build linux

package drivertest

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/seed-642172e2/aufs/internal/core/backend"
	"github.com/seed-642172e2/aufs/internal/core/driver"
	"github.com/seed-642172e2/aufs/internal/core/store"
)

// TestManyProcesses has several processes at work on one store. Each calls Init, uses layers of its own on top of one parent with Create,
// Get, Put and Remove, and mounts one layer that all of them share.
func TestManyProcesses(t *testing.T) {
	if args := strings.Split(os.Getenv(childVariable), "|"); len(args) == 3 {
		oneOfManyProcesses(t, args[0], backend.Name(args[1]), args[2])
		return
	}
	forEachBackend(t, func(t *testing.T, name backend.Name) {
		s := newStore(t, name)
		s.create(t, "", "base")
		write(t, s.inner.Home.Diff("base"), files{"f": "f", "d/f": "f", "e/f": "f"})
		s.create(t, "base", "marks")
		s.apply(t, "marks", "base", entry{Name: ".wh.f"}, entry{Name: "d/.wh..wh..opq"}, entry{Name: "d/g"})
		s.create(t, "marks", "shared")
		const processes = 4
		outputs, commands := [processes]bytes.Buffer{}, [processes]*exec.Cmd{}
		for i := range processes {
			c := exec.Command(os.Args[0], "-test.run=^TestManyProcesses$", "-test.v")
			c.Env = append(os.Environ(), fmt.Sprintf("%s=%s|%s|process%d", childVariable, s.inner.Home, name, i))
			c.Stdout, c.Stderr = &outputs[i], &outputs[i]
			must(t, c.Start())
			commands[i] = c
		}
		for i, c := range commands {
			if err := c.Wait(); err != nil || !strings.Contains(outputs[i].String(), "--- PASS: TestManyProcesses") {
				t.Errorf("process %d: %v\n%s", i, err, outputs[i].String())
			}
		}
		ids, err := s.ListLayers()
		must(t, err)
		sameNames(t, ids, "base", "marks", "shared")
		noMounts(t, s.inner.Home.Mnt(""))
		for _, dir := range []string{store.DiffDir, store.MntDir} {
			entries, err := os.ReadDir(filepath.Join(string(s.inner.Home), dir))
			if err != nil || len(entries) != 3 {
				t.Errorf("%s: %v, %v", dir, entries, err)
			}
		}
		for _, id := range ids {
			s.oneForm(t, id)
		}
		sameNames(t, s.see(t, "shared").Names(), "d", "d/g", "e", "e/f")
	})
}

func oneOfManyProcesses(t *testing.T, home string, name backend.Name, me string) {
	t.Helper()
	for round := range 12 {
		d, err := driver.Open(home, configFor(name))
		must(t, err)
		id := fmt.Sprintf("%s-%d", me, round)
		must(t, d.Create(id, "marks", nil))
		dir, err := d.Get(id, driver.GetOptions{})
		must(t, err)
		sameNames(t, readTree(t, dir).Names(), "d", "d/g", "e", "e/f")
		write(t, dir, files{"d/mine": me})
		must(t, os.RemoveAll(filepath.Join(dir, "e")))
		_, err = d.Get("shared", driver.GetOptions{})
		must(t, err)
		must(t, d.Put("shared"))
		must(t, d.Put(id))
		changes, err := d.Changes(id, nil, "marks", nil)
		must(t, err)
		sameNames(t, kinds(changes), "C /d", "A /d/mine", "D /e")
		must(t, d.Remove(id))
	}
}
