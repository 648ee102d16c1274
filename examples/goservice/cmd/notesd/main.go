// Command notesd serves notes.
package main

import (
	"flag"
	"fmt"
	"log"
	"net"
	"net/http"

	"goservice/api"
	"goservice/notes"
)

// version is set when the program is built.
var version = "unknown"

func main() {
	listen := flag.String("listen", ":8080", "address to listen on")
	flag.Parse()
	l, err := net.Listen("tcp", *listen)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("notesd %s on http://%s\n", version, l.Addr())
	log.Fatal(http.Serve(l, api.New(&notes.Notes{})))
}
