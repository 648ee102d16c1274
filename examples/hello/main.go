// Command hello greets whom it is told to.
package main

import (
	"fmt"
	"os"

	"hello/greet"
)

// version is set when the program is built.
var version = "unknown"

func main() {
	name := "world"
	if len(os.Args) > 1 {
		name = os.Args[1]
	}
	fmt.Printf("%s (version %s)\n", greet.Hello(name), version)
}
