/**
 * What is used of the Kubernetes client library. With the names given here the bundle leaves out the rest of it: 2.4 MB of code instead
 * of 5.8, and half the time to load.
 */
export {
  ApiException,
  AppsV1Api,
  AuthenticationV1TokenRequest,
  CoreV1Api,
  CoreV1Event,
  CustomObjectsApi,
  KubeConfig,
  Observable,
  V1EventSource,
  V1ObjectMeta,
  V1ObjectReference,
  V1TokenRequestSpec,
  Watch,
} from '@kubernetes/client-node';
