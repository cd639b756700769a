//go:build linux

package bench

import (
	"fmt"
	"path/filepath"
	"testing"

	graphdriver "github.com/containers/storage/drivers"
	"github.com/containers/storage/pkg/idtools"
	"golang.org/x/sys/unix"
)

// BenchmarkMapped makes a container with a user namespace of its own, and mounts it. With owners=shifted it does what the library does: if the
// driver can shift owners, Get gets the maps, and otherwise the image is copied. With owners=changed, the image is copied with all drivers.
func BenchmarkMapped(b *testing.B) {
	const parents = 2
	content := tree{files: bySize(4000, 1000, 20), size: 16 << 10, depth: 3}
	for _, changed := range []bool{false, true} {
		owners := map[bool]string{false: "shifted", true: "changed"}[changed]
		b.Run(fmt.Sprintf("owners=%s/files=%d", owners, content.files), func(b *testing.B) {
			forEach(b, changesOwners, func(b *testing.B, d driver) {
				s := d.fixture(b, "mapped-"+owners, func(s store) { s.makeStack(b, parents, content) })
				m := mappedContainer{store: s, image: stackID(parents - 1), changed: changed}
				for n := 0; b.Loop(); n++ {
					m.hostID = 100_000 * (1 + n%1000)
					dir := m.make(b)
					b.StopTimer()
					var st unix.Stat_t
					must(b, unix.Stat(filepath.Join(dir, content.file(0)), &st))
					if int(st.Uid) != m.hostID {
						b.Fatalf("a file belongs to %d, and should to %d", st.Uid, m.hostID)
					}
					shows(b, dir, content.file(content.files-1), content.size)
					m.remove(b)
					b.StartTimer()
				}
			})
		})
	}
}

// changesOwners accepts the drivers with layers that hold only their changes, but for the in-tree driver, which cannot change owners.
func changesOwners(d driver) bool { return layered(d) && d.name != InTree }

// A mappedContainer is a container whose root has the id hostID on the host.
type mappedContainer struct {
	store
	image   string
	hostID  int
	changed bool
}

func (m mappedContainer) id() string { return idOf("a container with maps") }

// mapped returns the id of the layer that has a copy of the image.
func (m mappedContainer) mapped() string { return idOf("an image with maps") }

// make makes the container as the library does, and mounts it.
func (m mappedContainer) make(b *testing.B) string {
	b.Helper()
	maps := []idtools.IDMap{{HostID: m.hostID, Size: 65536}}
	options := graphdriver.MountOpts{UidMaps: maps, GidMaps: maps}
	parent, none := m.image, &idtools.IDMappings{}
	options.DisableShifting = m.changed || !m.SupportsShifting(maps, maps)
	if options.DisableShifting {
		to := idtools.NewIDMappingsFromMaps(maps, maps)
		create := &graphdriver.CreateOpts{IDMappings: to}
		must(b, m.CreateFromTemplate(m.mapped(), m.image, none, stackID(0), none, create, false))
		must(b, m.UpdateLayerIDMap(m.mapped(), none, to, ""))
		parent = m.mapped()
	}
	must(b, m.CreateReadWrite(m.id(), parent, nil))
	dir, err := m.Get(m.id(), options)
	must(b, err)
	return dir
}

// remove removes all that make has made.
func (m mappedContainer) remove(b *testing.B) {
	b.Helper()
	must(b, m.Put(m.id()))
	for _, id := range []string{m.id(), m.mapped()} {
		if m.Exists(id) {
			must(b, m.Remove(id))
		}
	}
	settled(b)
}
