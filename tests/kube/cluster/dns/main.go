// The DNS server of a cluster of one node: A records of Services, of headless ones and their named pods too.
//
// CoreDNS would want other versions of modules that it shares with Kubernetes.
// See https://github.com/kubernetes/dns/blob/master/docs/specification.md
package main

import (
	"context"
	"log"
	"net"
	"net/http"
	"strings"

	"golang.org/x/net/dns/dnsmessage"
	"k8s.io/api/core/v1"
	discovery "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	corelisters "k8s.io/client-go/listers/core/v1"
	discoverylisters "k8s.io/client-go/listers/discovery/v1"
	"k8s.io/client-go/rest"
)

const (
	zone         = ".svc.cluster.local."
	serving      = ":5353"
	telling      = ":8181" // whether it is ready
	seconds      = 5       // for which an answer may be kept
	longestAsked = 4096    // bytes
)

type cluster struct {
	services corelisters.ServiceLister
	slices   discoverylisters.EndpointSliceLister
}

// Addresses of a name, and whether there is such a name.
func (c cluster) addresses(name string) ([]string, bool) {
	rest, inside := strings.CutSuffix(strings.ToLower(name), zone)
	parts := strings.Split(rest, ".")
	if !inside || len(parts) < 2 || len(parts) > 3 {
		return nil, false
	}
	host, parts := strings.Join(parts[:len(parts)-2], ""), parts[len(parts)-2:]
	service, err := c.services.Services(parts[1]).Get(parts[0])
	if err != nil {
		return nil, false
	}
	if service.Spec.ClusterIP == v1.ClusterIPNone {
		return c.endpoints(service, host)
	}
	return []string{service.Spec.ClusterIP}, host == "" && service.Spec.ClusterIP != ""
}

// Addresses of a headless Service's endpoints, or of the one that has that host name.
func (c cluster) endpoints(service *v1.Service, host string) (found []string, known bool) {
	selector := labels.SelectorFromSet(labels.Set{discovery.LabelServiceName: service.Name})
	slices, err := c.slices.EndpointSlices(service.Namespace).List(selector)
	if err != nil {
		return nil, false
	}
	for _, slice := range slices {
		for _, endpoint := range slice.Endpoints {
			ready := endpoint.Conditions.Ready == nil || *endpoint.Conditions.Ready
			named := host == "" || endpoint.Hostname != nil && *endpoint.Hostname == host
			if named && (ready || service.Spec.PublishNotReadyAddresses) {
				found = append(found, endpoint.Addresses...)
			}
		}
	}
	return found, host == "" || len(found) > 0
}

func (c cluster) answer(asked []byte) ([]byte, error) {
	var query dnsmessage.Message
	if err := query.Unpack(asked); err != nil || len(query.Questions) != 1 {
		return nil, err
	}
	header := query.Header
	header.Response, header.Authoritative, header.RecursionAvailable = true, true, true
	question := query.Questions[0]
	addresses, known := c.addresses(question.Name.String())
	reply := dnsmessage.Message{Header: header, Questions: query.Questions}
	if !known {
		reply.RCode = dnsmessage.RCodeNameError
	}
	if question.Type == dnsmessage.TypeA {
		for _, address := range addresses {
			if four := net.ParseIP(address).To4(); four != nil {
				head := dnsmessage.ResourceHeader{Name: question.Name, Class: dnsmessage.ClassINET, TTL: seconds}
				reply.Answers = append(reply.Answers, dnsmessage.Resource{Header: head, Body: &dnsmessage.AResource{A: [4]byte(four)}})
			}
		}
	}
	return reply.Pack()
}

func serve(c cluster, socket net.PacketConn) error {
	buffer := make([]byte, longestAsked)
	for {
		size, peer, err := socket.ReadFrom(buffer)
		if err != nil {
			return err
		}
		if reply, err := c.answer(buffer[:size]); err != nil {
			log.Print(peer, ": ", err)
		} else if reply != nil {
			socket.WriteTo(reply, peer) // who gets none asks again
		}
	}
}

func main() {
	config, err := rest.InClusterConfig()
	if err != nil {
		log.Fatal(err)
	}
	factory := informers.NewSharedInformerFactory(kubernetes.NewForConfigOrDie(config), 0)
	known := cluster{factory.Core().V1().Services().Lister(), factory.Discovery().V1().EndpointSlices().Lister()}
	factory.Core().V1().Services().Informer()
	factory.Discovery().V1().EndpointSlices().Informer()
	factory.Start(context.Background().Done())
	factory.WaitForCacheSync(context.Background().Done())
	socket, err := net.ListenPacket("udp", serving)
	if err != nil {
		log.Fatal(err)
	}
	ok := http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})
	go func() { log.Fatal(http.ListenAndServe(telling, ok)) }()
	log.Fatal(serve(known, socket))
}
