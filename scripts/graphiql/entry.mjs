// What the page needs of GraphiQL and the packages below it.
export { createElement } from "react";
export { createRoot } from "react-dom/client";
export { GraphiQL } from "graphiql";
export { createClient } from "graphql-ws";
export { buildSchema, introspectionFromSchema } from "graphql";
import "graphiql/style.css";
