// Package wire has what the host and the guest of a vmtest say to each other.
//
// The host puts a Plan into the guest's initramfs. The guest answers over
// virtio-serial ports: one for each Suite carries the raw output of its test
// binary, and one carries Messages, one JSON value a line. The results of
// benchmarks come as Messages.
package wire

import "time"

// MessagesPort is the name of the virtio-serial port for Messages.
const MessagesPort = "vmtest.messages"

// Paths in the guest.
const (
	PlanPath   = "/plan.json"
	TestDir    = "/pkg"   // holds the working directory of each suite
	ImagePath  = "/image" // an OCI layout, for the tests with real images
	ModulesDir = "/modules"
	IntreePath = "/bin/intree"
	OursPath   = "/bin/ours" // the same with this module's driver
	InputPath  = "/input.tar"
	TmpDir     = "/tmp" // on the file system under test
)

// BenchPrograms are the paths in the guest of the two programs with benchmarks.
func BenchPrograms() []string { return []string{"/bin/bench-ours", "/bin/bench-intree"} }

// Marks that the guest, or a test, writes to /dev/kmsg, and that the host
// finds on the console. aufs and overlayfs complain there about what a program
// asked for wrongly; from MarkExpect to MarkExpectNone that is as it should be,
// if it has the text.
const (
	MarkTest       = "vmtest: test "           // followed by the test's name, and by what it belongs to
	MarkExpect     = "vmtest: expect message " // followed by a text
	MarkExpectNone = "vmtest: expect no message"
)

// A Suite is the tests of one package, which are one binary in the guest.
type Suite struct{ Name string }

// Port is the name of the virtio-serial port for its output.
func (s Suite) Port() string { return "vmtest.tests." + s.Name }

// Binary is its path in the guest.
func (s Suite) Binary() string { return "/bin/" + s.Name + ".test" }

// WorkDir is the working directory of its tests in the guest. It holds the
// package's testdata.
func (s Suite) WorkDir() string { return TestDir + "/" + s.Name }

// A Program is one that is run in the guest.
type Program struct{ Name string }

// Path is its path in the guest.
func (p Program) Path() string { return "/bin/" + p.Name }

// A Plan says what the guest does.
type Plan struct {
	Suites      []Suite       // what is run, in this order
	Examples    []Program     // example programs, which are run after them on each backend
	FS          string        // the file system of /dev/vda; "tmpfs": there is no disk
	Backends    []string      // those that the tests and the example must run
	Run         string        // the regular expression for -test.run; "" runs all
	TestTimeout time.Duration // for all suites together
	Sequences   int           // how many the differential test runs on each backend
	Steps       string        // in how many ways each operation is interrupted, or "all"
	Stress      time.Duration // how long each stress test is, on each backend
	Seed        uint64        // where it begins; 0: with what the time is
	Bench       *Bench        // what is run in place of all that, if it is not nil
}

// A Bench says how benchmarks are run; Plan.Run says which.
type Bench struct {
	Time  string // how long each one is in each round
	Count int    // how many rounds there are
	Size  string // one of bench.Sizes
	// Profile asks for CPU profiles.
	Profile bool
}

// A Message has one of its fields set.
type Message struct {
	Kernel  *Kernel  `json:",omitempty"`
	Tests   *Tests   `json:",omitempty"` // the tests of one suite have ended
	Example *Example `json:",omitempty"` // one run of the example has ended
	Results string   `json:",omitempty"` // some more of the benchmarks' results
	News    string   `json:",omitempty"` // what the benchmarks have come to
	Profile *Profile `json:",omitempty"` // a CPU profile of a benchmark
	Bench   *Exit    `json:",omitempty"` // the benchmarks have ended
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

// A Profile is one of pprof's files.
type Profile struct {
	Name    string
	Content []byte
}

// An Exit is how a program ended.
type Exit struct {
	Error   string // "" if it succeeded
	Elapsed time.Duration
}

// A Tests is one run of a suite.
type Tests struct {
	Suite string // its name
	Exit
}

// An Example is one run of the example program.
type Example struct {
	Name    string // of the program
	Backend string
	Output  string
	Exit
}
