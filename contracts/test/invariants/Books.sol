// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IAttributionRewards} from "../../src/interfaces/IAttributionRewards.sol";
import {INodeStaking} from "../../src/interfaces/INodeStaking.sol";
import {IPaymentChannels} from "../../src/interfaces/IPaymentChannels.sol";
import {ChannelConfig, ClaimRecord, NOBODY, Payout} from "../../src/interfaces/Types.sol";
import {Receipts} from "../support/Receipts.sol";
import {vm} from "../support/Vm.sol";

/// @notice What was done, kept beside the contracts and summed without them; and the equations that both must satisfy.
abstract contract Books is Receipts {
    uint256 internal constant NODES = 3;
    uint256 internal constant PAYERS = 2;
    uint256 internal constant ACCOUNTS = 13;

    /// @dev The encoded record of a claim, which each check reads, and the encoded {Book} behind it.
    struct Claim {
        bytes record;
        bytes book;
        IAttributionRewards.State state;
    }

    uint256 private _supply;
    ChannelConfig[] internal configs;
    bytes32[] internal adapterIds;
    Claim[] internal claims;
    mapping(bytes32 id => mapping(bytes32 adapterId => uint128)) internal claimedIn;
    mapping(address node => uint64) internal numClaims;
    mapping(address at => uint256) internal donated;
    mapping(address payer => uint256) internal spent;
    mapping(address payer => uint256) internal returned;
    mapping(string action => uint256) public numCalls;

    uint256 internal paidIn;
    uint256 internal refunded;
    uint256 internal withdrawn;
    uint256 internal paidOut;
    uint256 internal bondedIn;
    uint256 internal stakeOut;
    uint256 internal slashed;
    uint256 internal bondsIn;
    uint256 internal bondsOut;

    function setUp() public virtual override {
        super.setUp();
        bondedIn = STAKE;
        bondsIn = 3 * BOND;
        adapterIds = [BASE, ONE, TWO, BARE];
        _supply = token.totalSupply();
        for (uint256 n = 1; n < NODES; ++n) _fund(_nodeOf(n));
        for (uint256 p = 1; p < PAYERS; ++p) _fund(_payerOf(p));
    }

    function _nodeOf(uint256 n) internal view returns (address) {
        return n % NODES == 0 ? node : address(uint160(0xE000 + n % NODES));
    }

    function _payerOf(uint256 p) internal view returns (address) {
        return p % PAYERS == 0 ? payer : address(uint160(0xF000 + p % PAYERS));
    }

    /// @dev All who can be credited.
    function _accountOf(uint256 a) internal view returns (address) {
        address[ACCOUNTS] memory all = [
            node, _nodeOf(1), _nodeOf(2), payer, _payerOf(1), treasury, maker, curator, firstTreasury, secondTreasury,
            alice, bob, NOBODY
        ];
        return all[a % ACCOUNTS];
    }

    // ---- Σ over lanes of laneClaimed = claimed, each channel; and
    // ---- Σ open + Σ topUp = Σ refunded + Σ withdrawn + Σ (deposit − claimed) + Σ gross live + Σ gross released ----

    function checkChannels() external view {
        (uint256 live, uint256 released) = _gross();
        uint256 left = _escrowed();
        IPaymentChannels.Totals memory totals = channels.totals();
        eq("what was paid in is somewhere", paidIn, refunded + withdrawn + left + live + released);
        eq("paid in", totals.paidIn, paidIn);
        eq("refunded", totals.refunded, refunded);
        eq("withdrawn", totals.withdrawn, withdrawn);
        eq("escrowed", totals.escrowed, left);
        eq("live", totals.live, live);
        eq("released", totals.released, released);
        eq("held", token.balanceOf(address(channels)), left + live + donated[address(channels)]);
    }

    function checkPayers() external view {
        for (uint256 p = 0; p < PAYERS; ++p) {
            address it = _payerOf(p);
            eq("a payer's wallet", token.balanceOf(it), 1_000_000 * uint256(OPEN) + returned[it] - spent[it]);
        }
    }

    function checkEachChannel() external view {
        for (uint256 i = 0; i < configs.length; ++i) {
            bytes32 id = channels.channelId(configs[i]);
            (uint128 deposit, uint128 claimed) = channels.channelOf(id);
            yes("claimed is within the deposit", claimed <= deposit);
            uint256 lanes = 0;
            for (uint256 a = 0; a < adapterIds.length; ++a) {
                uint128 lane = channels.laneClaimed(id, adapterIds[a]);
                eq("a lane is what its vouchers covered", lane, claimedIn[id][adapterIds[a]]);
                lanes += lane;
            }
            eq("all lanes together", lanes, claimed);
        }
    }

    // ---- gross = protocol + Σ credits + Σ pots + nodeShare ----

    function checkEachClaim() external view {
        for (uint256 i = 0; i < claims.length; ++i) {
            ClaimRecord memory record = _recordOf(claims[i]);
            eq("a claim's gross", _sum(record), record.gross);
            bytes32 stored = channels.claimOf(record.node, record.seq);
            eq("kept while it is live", stored, _isLive(claims[i]) ? keccak256(abi.encode(record)) : bytes32(0));
        }
        for (uint256 n = 0; n < NODES; ++n) eq("seq", channels.nextSeq(_nodeOf(n)), numClaims[_nodeOf(n)]);
    }

    // ---- Σ gross released = Σ credited = Σ paid out + Σ balance ----

    function checkRewards() external view {
        (, uint256 released) = _gross();
        uint256 balances = _balances();
        IAttributionRewards.Totals memory totals = rewards.totals();
        eq("what was released is credited", released, totals.credited);
        eq("what was credited is paid out or a balance", totals.credited, paidOut + balances);
        eq("paid out", totals.paidOut, paidOut);
        eq("held", token.balanceOf(address(rewards)), balances + donated[address(rewards)]);
        eq("nobody has anything", rewards.balanceOf(NOBODY), 0);
    }

    // ---- Σ bonded in = bonded + unbonding + withdrawn + slashed ----

    function checkStaking() external view {
        (uint256 bonded, uint256 unbonding) = _stakes();
        INodeStaking.Totals memory totals = staking.totals();
        eq("bonded", totals.bonded, bonded);
        eq("unbonding", totals.unbonding, unbonding);
        eq("bonded in", totals.bondedIn, bondedIn);
        eq("withdrawn", totals.withdrawn, stakeOut);
        eq("slashed", totals.slashed, slashed);
        eq("what was slashed is burnt", token.balanceOf(BURNT), slashed);
        eq("what was bonded is somewhere", bondedIn, bonded + unbonding + stakeOut + slashed);
        eq("held", token.balanceOf(address(staking)), bonded + unbonding + donated[address(staking)]);
    }

    function checkBonds() external view {
        (uint128 in_, uint128 out) = models.totals();
        eq("bonds in", in_, bondsIn);
        eq("bonds out", out, bondsOut);
        uint256 bonds = 0;
        for (uint256 i = 1; i < adapterIds.length; ++i) bonds += models.adapterOf(adapterIds[i]).bond;
        eq("bonds are there", bondsIn - bondsOut, bonds);
        eq("held", token.balanceOf(address(models)), bonds + donated[address(models)]);
    }

    function checkSupply() external view {
        eq("supply", token.totalSupply(), _supply);
    }

    function _bookOf(Claim storage claim) internal view returns (Book memory) {
        return abi.decode(claim.book, (Book));
    }

    function _recordOf(Claim storage claim) internal view returns (ClaimRecord memory) {
        return abi.decode(claim.record, (ClaimRecord));
    }

    // ---- sums ----

    function _isLive(Claim storage claim) internal view returns (bool) {
        return claim.state == IAttributionRewards.State.None || claim.state == IAttributionRewards.State.Proposed;
    }

    function _gross() private view returns (uint256 live, uint256 released) {
        for (uint256 i = 0; i < claims.length; ++i) {
            uint256 gross = _recordOf(claims[i]).gross;
            if (_isLive(claims[i])) live += gross;
            else released += gross;
        }
    }

    function _escrowed() private view returns (uint256 left) {
        for (uint256 i = 0; i < configs.length; ++i) left += _left(configs[i]);
    }

    function _balances() private view returns (uint256 sum) {
        for (uint256 a = 0; a < ACCOUNTS; ++a) sum += rewards.balanceOf(_accountOf(a));
    }

    function _stakes() private view returns (uint256 bonded, uint256 unbonding) {
        for (uint256 n = 0; n < NODES; ++n) {
            (uint128 b, uint128 u) = staking.nodeOf(_nodeOf(n));
            (bonded, unbonding) = (bonded + b, unbonding + u);
        }
    }
}
