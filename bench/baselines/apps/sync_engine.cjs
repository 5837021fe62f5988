// stripe-sync-engine's webhook intake in one process, behind Fastify as in its own image: the signature is checked, the
// object in the event is upserted. Nothing is fetched from Stripe. CommonJS, because runMigrations() finds its files there only.
'use strict'
const { StripeSync, runMigrations } = require('@supabase/stripe-sync-engine')
const { fastify } = require('fastify')

async function main(port) {
  const connectionString = process.env.DATABASE_URL
  await runMigrations({ databaseUrl: connectionString, schema: 'stripe', logger: console })
  const sync = new StripeSync({
    poolConfig: { connectionString, max: Number(process.env.POOL_SIZE) },
    schema: 'stripe',
    stripeSecretKey: process.env.STRIPE_SECRET_KEY,
    stripeWebhookSecret: process.env.STRIPE_WEBHOOK_SECRET,
    backfillRelatedEntities: false,
    autoExpandLists: false,
  })

  const server = fastify({ logger: false })
  server.addContentTypeParser('application/json', { parseAs: 'buffer' }, (request, body, done) => done(null, body))
  server.post('/webhooks', async (request, reply) => {
    try {
      await sync.processWebhook(request.body, request.headers['stripe-signature'])
    } catch (error) {
      return reply.code(400).send(`Webhook Error: ${error.message}`)
    }
    return { received: true }
  })
  await server.listen({ host: '127.0.0.1', port })
}

main(Number(process.argv[2]))
