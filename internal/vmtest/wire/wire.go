// Package wire has what the host and the guest of a vmtest say to each other.
//
// The host puts a Plan into the guest's initramfs. The guest answers over two
// virtio-serial ports: one carries the raw output of the test binary, the
// other one Messages, one JSON value a line.
package wire

import "time"

// Names of the virtio-serial ports.
const (
	TestsPort    = "vmtest.tests"
	MessagesPort = "vmtest.messages"
)

// Paths in the guest.
const (
	PlanPath    = "/plan.json"
	TestBinary  = "/bin/aufs.test"
	TestDir     = "/pkg" // the tests' working directory; it holds testdata
	ExamplePath = "/bin/example"
	IntreePath  = "/bin/intree"
	InputPath   = "/input.tar"
	TmpDir      = "/tmp" // on the file system under test
)

// Marks that the guest, or a test, writes to /dev/kmsg, and that the host
// finds on the console. aufs and overlayfs complain there about mounts that a
// program asked for wrongly; between ExpectMounts and UnexpectMounts that is
// as it should be.
const (
	MarkTest       = "vmtest: test " // followed by the test's name
	ExpectMounts   = "vmtest: expect mount messages"
	UnexpectMounts = "vmtest: expect no mount messages"
)

// A Plan says what the guest does.
type Plan struct {
	FS          string        // the file system of /dev/vda; "tmpfs": there is no disk
	Backends    []string      // those that the tests and the example must run
	Run         string        // the regular expression for -test.run; "" runs all
	TestTimeout time.Duration // for -test.timeout
}

// A Message has one of its fields set.
type Message struct {
	Kernel  *Kernel  `json:",omitempty"`
	Tests   *Exit    `json:",omitempty"` // the test binary has ended
	Example *Example `json:",omitempty"` // one run of the example has ended
	Fatal   string   `json:",omitempty"` // why the guest gives up
	Done    bool     `json:",omitempty"` // the plan was carried out
}

// A Kernel is what the guest knows of its kernel.
type Kernel struct {
	Release     string
	Aufs        bool   // aufs can be mounted
	AufsVersion string // "" if the kernel doesn't say
	BranchLimit string // of one aufs mount, and how it is known; "" without aufs
}

// An Exit is how a program ended.
type Exit struct {
	Error   string // "" if it succeeded
	Elapsed time.Duration
}

// An Example is one run of the example program.
type Example struct {
	Backend string
	Output  string
	Exit
}
