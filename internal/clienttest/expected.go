package main

// expected has the lines that differ between the drivers, as compare prints them, each with the reason.
var expected = map[string]string{
	"only aufs prints C /home":          "the container removed the directory and made it again",
	"only overlay prints D /home":       "the overlay driver reports such a directory as deleted",
	"only aufs prints 0:0":              "the root user of a container with id maps made the file that is committed",
	"only overlay prints 200000:200000": "with the overlay driver, a committed file keeps the owner that it has on the host",
}
