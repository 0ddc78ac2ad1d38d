// Shows the API's own document; nothing is asked of other servers.
window.SwaggerUIBundle({
  dom_id: "#swagger-ui",
  url: "/api/openapi.json",
  docExpansion: "none",
  validatorUrl: null,
});
